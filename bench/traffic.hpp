#pragma once
/// What is sent and written in measurements: packets, and the sockets of the kernel's side.

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

/// IPv4 packets from us to `discard_port`, UDP or TCP.
struct Flow {
  std::uint8_t protocol = ip_protocol::udp;
  std::uint16_t source_port = 4242;
  Ipv4Address destination = kernel_address;
};
using PacketBytes = std::vector<std::byte>;

/// The datagram of number `index` of that flow, all of the same size, its checksums in place.
PacketBytes datagram_of(const Flow& flow, std::size_t payload, std::size_t index = 0);

/// The first `count` datagrams of a flow as one super-packet.
struct SuperPacket {
  PacketBytes packet;
  PacketOffload offload;
};
SuperPacket super_packet_of(const Flow& flow, std::size_t payload, std::size_t count);
/// The same as it is written to a descriptor: behind its virtio header.
PacketBytes framed(const SuperPacket& super);

/// A UDP socket on the kernel's side, bound if `port` is not 0. Throws.
UniqueFd udp_socket(std::uint16_t port = 0, Ipv4Address address = kernel_address);
/// The same, connected to our side.
UniqueFd udp_socket_to(std::uint16_t port);
/// Switches UDP_GRO on. Throws.
void take_super_packets(int socket);
/// The kernel makes datagrams of `payload_size` of what is sent, or a super-packet of them (UDP_SEGMENT). An
/// errno, or 0.
int send_super_packets(int socket);

/// Sends 64 B datagrams to `discard_port` on our side until the page says stop: `segments` of them in one
/// call (UDP_SEGMENT), or if that is 0 as many as the kernel takes.
void flood(Page& page, std::uint64_t segments);
/// Throws what is wrong if the flood could not go on.
void check_flood(const Page& page);

}  // namespace tunport::bench
