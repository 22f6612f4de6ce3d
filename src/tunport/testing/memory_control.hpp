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
  IpAddress local;  // the address of this host that received it
  std::vector<std::byte> bytes;
  std::uint16_t segment_size = 0;  // of a run that goes to a socket with UDP_GRO
  std::uint32_t dropped = 0;       // before it, by the socket
  std::uint8_t traffic_class = 0;
};

/// What a sender says beside a datagram.
struct MemorySendControl {
  std::size_t segment_size = 0;  // UDP_SEGMENT
  IpAddress from;                // IP_PKTINFO; unspecified: nothing was said
  int traffic_class = -1;        // IP_TOS; -1: nothing was said
};
MemorySendControl read_control(const msghdr& message);

/// The control messages that a socket with these options asked for, in the kernel's order, as far as there is
/// room.
struct MemoryControlOptions {
  bool v4 = true;
  bool overflow = false;
  bool packet_info = false;
  bool traffic_class = false;
};
void write_control(msghdr& message, const MemoryDatagram& datagram, const MemoryControlOptions& options);
/// The control message of the error queue: nobody at the port of a datagram.
void write_refused(msghdr& message, bool v4, const IpAddress& reporter);

/// IPv4 in the form that an IPv6 socket has it: ::ffff:a.b.c.d.
IpAddress mapped(const IpAddress& address);
/// The endpoint of a call's address: zero, or a negated errno. A mapped address becomes one of IPv4.
int read_address(int domain, const void* address, socklen_t length, Endpoint& endpoint);
/// As the kernel gives an address out: cut off at the room, with the length that it has.
socklen_t write_address(int domain, Endpoint endpoint, void* address, socklen_t room);

}  // namespace tunport
