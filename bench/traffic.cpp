#include "traffic.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

#include "harness.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace tunport::bench {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error{errno, std::generic_category(), what}; }

sockaddr_in socket_address(Ipv4Address ip, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  result.sin_addr.s_addr = htonl(ip.value());
  return result;
}

std::size_t headers_of(const Flow& flow) {
  return Ipv4Header::size + (flow.protocol == ip_protocol::udp ? UdpHeader::size : TcpHeader::size);
}

/// The packet from offset `sequence` of the flow's stream.
PacketBytes packet_of(const Flow& flow, std::size_t payload, std::size_t sequence, std::size_t number) {
  const std::size_t headers = headers_of(flow);
  PacketBytes packet(headers + payload);
  const MutableBytes bytes{packet};
  for (std::size_t i = 0; i < payload; ++i) packet[headers + i] = static_cast<std::byte>((sequence + i) * 37);
  Ipv4Header{.identification = static_cast<std::uint16_t>(number),
             .dont_fragment = true,
             .protocol = flow.protocol,
             .source = our_address,
             .destination = flow.destination,
             .payload_length = static_cast<std::uint16_t>(bytes.size() - Ipv4Header::size)}
      .emit(bytes);
  const MutableBytes transport = bytes.subspan(Ipv4Header::size);
  if (flow.protocol == ip_protocol::udp)
    UdpHeader{flow.source_port, discard_port}.emit(transport, bytes.last(payload), our_address,
                                                   flow.destination);
  else
    TcpHeader{.source_port = flow.source_port,
              .destination_port = discard_port,
              .sequence = static_cast<std::uint32_t>(sequence),
              .acknowledgment = 1,
              .window = 1000}
        .emit(transport, bytes.last(payload), our_address, flow.destination);
  return packet;
}

}  // namespace

PacketBytes datagram_of(const Flow& flow, std::size_t payload, std::size_t index) {
  return packet_of(flow, payload, index * payload, index);
}

SuperPacket super_packet_of(const Flow& flow, std::size_t payload, std::size_t count) {
  const bool udp = flow.protocol == ip_protocol::udp;
  SuperPacket super{.packet = packet_of(flow, payload * count, 0, 0), .offload = {}};
  super.offload.kind = udp ? SegmentKind::udp : SegmentKind::tcp4;
  super.offload.segment_size = static_cast<std::uint16_t>(payload);
  super.offload.header_length = static_cast<std::uint16_t>(headers_of(flow));
  const auto layout = find_layout(super.packet, DeviceKind::tun);
  if (!layout) throw std::logic_error{"a packet made here has no layout"};
  prepare_checksum(super.packet, *layout, super.offload);
  return super;
}

PacketBytes framed(const SuperPacket& super) {
  PacketBytes bytes(virtio_header::size);
  virtio_header::encode(super.offload, std::endian::native, bytes);
  bytes.insert(bytes.end(), super.packet.begin(), super.packet.end());
  return bytes;
}

UniqueFd udp_socket(std::uint16_t port, Ipv4Address address) {
  UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) fail("socket");
  const sockaddr_in local = socket_address(address, port);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) fail("bind");
  return fd;
}

UniqueFd udp_socket_to(std::uint16_t port) {
  UniqueFd fd = udp_socket();
  const sockaddr_in remote = socket_address(our_address, port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&remote), sizeof remote) != 0) fail("connect");
  return fd;
}

void take_super_packets(int socket) {
  const int on = 1;
  if (::setsockopt(socket, IPPROTO_UDP, UDP_GRO, &on, sizeof on) != 0) fail("UDP_GRO");
}

int send_super_packets(int socket) {
  const int size = payload_size;
  return ::setsockopt(socket, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) != 0 ? errno : 0;
}

void flood(Page& page, std::uint64_t segments) {
  constexpr std::uint64_t most_segments = 128;  // UDP_MAX_SEGMENTS; 64 before Linux 6.9
  constexpr std::uint64_t least_segments = 32;
  const UniqueFd fd = udp_socket_to(discard_port);
  page.peer_error = send_super_packets(fd.get());
  if (page.peer_error != 0) return;
  const std::vector<std::byte> payload(most_segments * payload_size);
  page.segments = segments == 0 ? most_segments : segments;
  while (std::atomic_ref{page.stop}.load(std::memory_order_relaxed) == 0) {
    if (::send(fd.get(), payload.data(), page.segments * payload_size, 0) < 0) {
      if (errno == EINVAL && page.sent == 0 && page.segments > least_segments) {
        page.segments /= 2;
        continue;
      }
      page.peer_error = errno;
      return;
    }
    std::atomic_ref{page.sent}.store(page.sent + page.segments, std::memory_order_relaxed);
  }
}

void send_paced(Page& page, double packets_per_second) {
  const UniqueFd fd = udp_socket_to(discard_port);
  const std::vector<std::byte> payload(payload_size);
  const auto interval = std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>{1 / packets_per_second});
  auto due = std::chrono::steady_clock::now();
  while (std::atomic_ref{page.stop}.load(std::memory_order_relaxed) == 0) {
    const auto now = std::chrono::steady_clock::now();
    if (now < due) continue;
    due = std::max(due + interval, now - 100 * interval);  // a sender that was held up does not flood
    if (::send(fd.get(), payload.data(), payload.size(), 0) < 0) {
      page.peer_error = errno;
      return;
    }
    std::atomic_ref{page.sent}.store(page.sent + 1, std::memory_order_relaxed);
  }
}

void check_flood(const Page& page) {
  if (page.peer_error == EIO || page.peer_error == ENOPROTOOPT)
    throw NotHere{"this kernel does not take UDP_SEGMENT for an interface without checksum offload"};
  require(page.peer_error == 0, "the sender could not go on");
}

}  // namespace tunport::bench
