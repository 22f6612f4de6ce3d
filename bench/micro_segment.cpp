/// Segmentation of a super-packet of 64 KiB, against a memcpy of the same bytes; and the costs per packet:
/// layout, virtio header, checksum.
///
///   segment/tcp_64K            all datagrams to the same buffer, checksums complete, as if sent at once
///   segment/tcp_64K_apart      all datagrams to adjacent places: a memcpy, cut into 45
///   segment/tcp_64K_in_place   headers written into the super-packet, checksums left to fill
///   segment/udp_payloads       slices only: per datagram

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

/// Bytes at the start of a page, the same in every run.
class Pages {
 public:
  explicit Pages(std::size_t size) : room_(size + page) {
    void* start = room_.data();
    std::size_t space = room_.size();
    bytes_ = {static_cast<std::byte*>(std::align(page, size, start, space)), size};
  }
  MutableBytes bytes() { return bytes_; }

 private:
  static constexpr std::size_t page = 4096;
  std::vector<std::byte> room_;
  MutableBytes bytes_;
};

struct SuperPacket {
  explicit SuperPacket(std::size_t size) : pages{size}, bytes{pages.bytes()} {}
  Pages pages;
  MutableBytes bytes;
  PacketOffload offload;
};

/// A packet of TCP or UDP over IPv4 on TUN, with `size` bytes of payload: a super-packet with the checksum to
/// fill, or a datagram if `segment_size` is 0.
SuperPacket packet_of(std::uint8_t protocol, std::size_t size, std::uint16_t segment_size) {
  const Ipv4Address source{0x0a000001};
  const Ipv4Address destination{0x0a000002};
  const bool is_tcp = protocol == ip_protocol::tcp;
  constexpr std::array<std::byte, 12> time_stamp{};
  const std::size_t header_length =
      Ipv4Header::size + (is_tcp ? TcpHeader::size + time_stamp.size() : UdpHeader::size);
  SuperPacket packet{header_length + size};
  const MutableBytes out = packet.bytes;
  std::fill(out.begin(), out.end(), std::byte{0x5a});
  Ipv4Header{.protocol = protocol,
             .source = source,
             .destination = destination,
             .payload_length = static_cast<std::uint16_t>(out.size() - Ipv4Header::size)}
      .emit(out);
  const MutableBytes transport = out.subspan(Ipv4Header::size);
  if (is_tcp)
    TcpHeader{.source_port = 4242, .destination_port = 80, .options = time_stamp}.emit(
        transport, out.last(size), source, destination);
  else
    UdpHeader{4242, 42}.emit(transport, out.last(size), source, destination);
  if (segment_size == 0) return packet;
  prepare_checksum(out, *find_layout(out, DeviceKind::tun), packet.offload);
  packet.offload.kind = is_tcp ? SegmentKind::tcp4 : SegmentKind::udp;
  packet.offload.segment_size = segment_size;
  packet.offload.header_length = static_cast<std::uint16_t>(header_length);
  return packet;
}

/// Hides the content of `bytes` from the compiler. (DoNotOptimize on the span would store and load the span:
/// more cost than the measured code.)
Bytes unknown(Bytes bytes) {
  const std::byte* data = bytes.data();
  benchmark::DoNotOptimize(data);
  benchmark::ClobberMemory();
  return {data, bytes.size()};
}

constexpr std::size_t segments = 45;

SuperPacket packet_of_45(std::uint8_t protocol) { return packet_of(protocol, segments * 1448, 1448); }

void memcpy_64k(benchmark::State& state) {
  const SuperPacket packet = packet_of_45(ip_protocol::tcp);
  Pages out{packet.bytes.size()};
  for (auto _ : state) {
    std::memcpy(out.bytes().data(), packet.bytes.data(), packet.bytes.size());
    benchmark::ClobberMemory();
  }
}

/// `apart`: each datagram to a separate place.
void segment_into(benchmark::State& state, std::uint8_t protocol, bool apart) {
  SuperPacket packet = packet_of_45(protocol);
  Pages out{2 * packet.bytes.size()};
  Segmenter segmenter;
  for (auto _ : state) {
    segmenter.start(packet.bytes, packet.offload, DeviceKind::tun);
    MutableBytes rest = out.bytes();
    while (!segmenter.done()) {
      const std::size_t size = segmenter.next_into(rest, ChecksumState::verified);
      benchmark::ClobberMemory();
      if (apart) rest = rest.subspan(size);
    }
  }
}

/// Puts the packet's headers back at the start of a round: segments in place overwrite them.
void put_back(SuperPacket& packet, const std::vector<std::byte>& headers) {
  std::ranges::copy(headers, packet.bytes.begin());
}

void segment_in_place(benchmark::State& state, std::uint8_t protocol, ChecksumState wanted) {
  SuperPacket packet = packet_of_45(protocol);
  const std::vector<std::byte> headers{packet.bytes.begin(),
                                       packet.bytes.begin() + packet.offload.header_length};
  Segmenter segmenter;
  for (auto _ : state) {
    segmenter.start(packet.bytes, packet.offload, DeviceKind::tun);
    while (!segmenter.done()) {
      benchmark::DoNotOptimize(segmenter.next_in_place(wanted));
      benchmark::ClobberMemory();
    }
    put_back(packet, headers);
  }
}

void udp_payloads(benchmark::State& state) {
  SuperPacket packet = packet_of(ip_protocol::udp, 1000 * 64, 64);
  Segmenter segmenter;
  for (auto _ : state) {
    segmenter.start(packet.bytes, packet.offload, DeviceKind::tun);
    while (!segmenter.done()) benchmark::DoNotOptimize(segmenter.next_payload());
  }
  state.SetItemsProcessed(state.iterations() * 1000);
}

void udp_in_place_64b(benchmark::State& state, ChecksumState wanted) {
  SuperPacket packet = packet_of(ip_protocol::udp, 1000 * 64, 64);
  const std::vector<std::byte> headers{packet.bytes.begin(),
                                       packet.bytes.begin() + packet.offload.header_length};
  Segmenter segmenter;
  for (auto _ : state) {
    segmenter.start(packet.bytes, packet.offload, DeviceKind::tun);
    while (!segmenter.done()) benchmark::DoNotOptimize(segmenter.next_in_place(wanted));
    put_back(packet, headers);
  }
  state.SetItemsProcessed(state.iterations() * 1000);
}

void layout(benchmark::State& state, std::uint8_t protocol) {
  const SuperPacket packet = packet_of(protocol, 64, 0);
  for (auto _ : state) {
    const auto found = find_layout(unknown(packet.bytes), DeviceKind::tun);
    benchmark::DoNotOptimize(found->payload + found->end);
  }
}

void verify(benchmark::State& state, std::uint8_t protocol) {
  const SuperPacket packet = packet_of(protocol, 64, 0);
  const auto found = *find_layout(packet.bytes, DeviceKind::tun);
  for (auto _ : state) benchmark::DoNotOptimize(verify_checksum(unknown(packet.bytes), found));
}

void decode(benchmark::State& state, SuperPacket (*make)()) {
  const SuperPacket packet = make();
  std::array<std::byte, 12> header{};
  virtio_header::encode(packet.offload, std::endian::native, header);
  DropReason why{};
  for (auto _ : state) {
    const auto offload =
        virtio_header::decode(unknown(header), std::endian::native, packet.bytes, DeviceKind::tun, why);
    benchmark::DoNotOptimize(offload->checksum_start + offload->segment_size);
  }
}

SuperPacket plain() { return packet_of(ip_protocol::udp, 64, 0); }
SuperPacket plain_to_fill() {
  SuperPacket packet = plain();
  packet.offload = {.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 6};
  return packet;
}
SuperPacket tcp_of_45() { return packet_of_45(ip_protocol::tcp); }

BENCHMARK(memcpy_64k)->Name("segment/memcpy_64K");
BENCHMARK_CAPTURE(segment_into, tcp, ip_protocol::tcp, false)->Name("segment/tcp_64K");
BENCHMARK_CAPTURE(segment_into, udp, ip_protocol::udp, false)->Name("segment/udp_64K");
BENCHMARK_CAPTURE(segment_into, tcp_apart, ip_protocol::tcp, true)->Name("segment/tcp_64K_apart");
BENCHMARK_CAPTURE(segment_into, udp_apart, ip_protocol::udp, true)->Name("segment/udp_64K_apart");
BENCHMARK_CAPTURE(segment_in_place, tcp, ip_protocol::tcp, ChecksumState::to_fill)
    ->Name("segment/tcp_64K_in_place");
BENCHMARK_CAPTURE(segment_in_place, udp, ip_protocol::udp, ChecksumState::to_fill)
    ->Name("segment/udp_64K_in_place");
BENCHMARK_CAPTURE(segment_in_place, tcp_verified, ip_protocol::tcp, ChecksumState::verified)
    ->Name("segment/tcp_64K_in_place_with_checksums");
BENCHMARK(udp_payloads)->Name("segment/udp_payloads");
BENCHMARK_CAPTURE(udp_in_place_64b, to_fill, ChecksumState::to_fill)->Name("segment/udp_64B_in_place");
BENCHMARK_CAPTURE(udp_in_place_64b, verified, ChecksumState::verified)
    ->Name("segment/udp_64B_in_place_with_checksums");
BENCHMARK_CAPTURE(layout, tcp, ip_protocol::tcp)->Name("layout/tcp");
BENCHMARK_CAPTURE(layout, udp, ip_protocol::udp)->Name("layout/udp");
BENCHMARK_CAPTURE(verify, tcp, ip_protocol::tcp)->Name("verify_checksum/tcp_64B");
BENCHMARK_CAPTURE(verify, udp, ip_protocol::udp)->Name("verify_checksum/udp_64B");
BENCHMARK_CAPTURE(decode, nothing, plain)->Name("virtio_header/nothing");
BENCHMARK_CAPTURE(decode, to_fill, plain_to_fill)->Name("virtio_header/to_fill");
BENCHMARK_CAPTURE(decode, super_packet, tcp_of_45)->Name("virtio_header/super_packet");

}  // namespace
}  // namespace tunport
