#pragma once
/// The traffic of measurements: packets, and the sockets of the kernel's side.

#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/wire/address.hpp"
#include "tunport/wire/ipv4.hpp"

#include "stage.hpp"

namespace tunport::bench {

inline constexpr std::uint16_t discard_port = 9;
inline constexpr std::size_t payload_size = 64;
inline constexpr std::size_t packet_size = 28 + payload_size;

/// A flow of IPv4 packets from our side to `discard_port`, UDP or TCP.
struct Flow {
  std::uint8_t protocol = ip_protocol::udp;
  std::uint16_t source_port = 4242;
  Ipv4Address destination = kernel_address;
};
using PacketBytes = std::vector<std::byte>;

/// The datagram `index` of a flow, with checksums. All datagrams have `payload` bytes of payload.
PacketBytes datagram_of(const Flow& flow, std::size_t payload, std::size_t index = 0);

/// A super-packet.
struct SuperPacket {
  PacketBytes packet;
  PacketOffload offload;
};
/// The first `count` datagrams of a flow as a super-packet.
SuperPacket super_packet_of(const Flow& flow, std::size_t payload, std::size_t count);
/// The bytes of a super-packet for a descriptor: the virtio header, and the packet.
PacketBytes framed(const SuperPacket& super);

/// A UDP socket on the kernel's side, bound to `address` and `port`; 0 is a port of the kernel's choice.
/// Throws std::system_error.
UniqueFd udp_socket(std::uint16_t port = 0, Ipv4Address address = kernel_address);
/// A UDP socket on the kernel's side, connected to `port` on our side. Throws std::system_error.
UniqueFd udp_socket_to(std::uint16_t port);
/// Switches UDP_GRO on. Throws std::system_error.
void take_super_packets(int socket);
/// Has the kernel cut sent data into datagrams of `payload_size`, or into a super-packet of them
/// (UDP_SEGMENT). Returns 0 or an errno.
int send_super_packets(int socket);

/// Sends 64 B datagrams to `discard_port` on our side until `page.stop`. A call sends `segments` datagrams
/// (UDP_SEGMENT); 0 means as many as the kernel takes, at most 128.
void flood(Page& page, std::uint64_t segments);
/// Sends single 64 B datagrams to `discard_port` on our side at a steady rate until `page.stop`.
void send_paced(Page& page, double packets_per_second);
/// Throws the error that ended a flood early; `NotHere` for a kernel without UDP_SEGMENT here.
void check_flood(const Page& page);

}  // namespace tunport::bench
