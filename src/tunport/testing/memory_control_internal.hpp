#pragma once
/// Addresses and control messages of the fake kernel's sockets, in the kernel's own form. The inside of
/// `MemorySystem`.

#include <cstdint>
#include <vector>

#include <sys/socket.h>

#include "tunport/wire/address.hpp"

namespace tunport {

/// A datagram in a socket's queue.
struct MemoryDatagram {
  Endpoint from;
  Endpoint to;
  IpAddress local;  // the receiving address of this host
  std::vector<std::byte> bytes;
  std::uint16_t segment_size = 0;  // of a run for a socket with UDP_GRO
  std::uint32_t dropped = 0;       // datagrams dropped before, by the socket
  std::uint8_t traffic_class = 0;
};

/// The control messages of a sent datagram.
struct MemorySendControl {
  std::size_t segment_size = 0;  // UDP_SEGMENT
  IpAddress from;                // IP_PKTINFO; unspecified: not given
  int traffic_class = -1;        // IP_TOS; -1: not given
};
/// Parses the control messages of `message`.
MemorySendControl read_control(const msghdr& message);

/// The control messages requested by a socket.
struct MemoryControlOptions {
  bool v4 = true;
  bool overflow = false;
  bool packet_info = false;
  bool traffic_class = false;
};
/// Writes the requested control messages, in the kernel's order, as far as the room suffices.
void write_control(msghdr& message, const MemoryDatagram& datagram, const MemoryControlOptions& options);
/// Writes the control message of the error queue: no socket at the port of a datagram.
void write_refused(msghdr& message, bool v4, const IpAddress& reporter);

/// An IPv4 address in the form of an IPv6 socket: ::ffff:a.b.c.d.
IpAddress mapped(const IpAddress& address);
/// Reads the endpoint of a call's address. Returns zero or a negated errno. A mapped address becomes IPv4.
int read_address(int domain, const void* address, socklen_t length, Endpoint& endpoint);
/// Writes an address as the kernel does: cut off at the room. Returns the full length.
socklen_t write_address(int domain, Endpoint endpoint, void* address, socklen_t room);

}  // namespace tunport
