/// Rows without a kernel: segmentation and coalescing of super-packets of 64 KiB, against a copy of the same
/// bytes, and the checksum, against reading. 45 segments of 1448 bytes, as in TCP on an MTU of 1500, in the
/// caches of a core.

#include <algorithm>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/wire/checksum.hpp"

#include "bare_loop.h"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::size_t segment_size = 1448;
constexpr std::size_t segments = 45;

/// Keeps the compiler from removing writes to memory.
void must_be_there(const void* memory) { asm volatile("" : : "g"(memory) : "memory"); }

/// ns of a call, the median of many batches, in a separate process. A batch is long enough for the clock.
double time_of(const Settings& settings, const std::function<void()>& once) {
  const Stage stage;
  Child child{Core::measured, [&](const auto&) {
                constexpr int batch = 50;
                constexpr std::size_t least_batches = 20;
                const double end = now() + settings.seconds / 4;
                std::vector<double> batches;
                for (double start = now(); start < end || batches.size() < least_batches;) {
                  for (int i = 0; i < batch; ++i) once();
                  const double stop = now();
                  batches.push_back((stop - start) / batch);
                  start = stop;
                }
                stage.page().figures[0] = median(batches) * 1e9;
              }};
  child.join(std::chrono::milliseconds{static_cast<int>(settings.seconds * 1000) + 20'000});
  return stage.page().figures[0];
}

Flow flow_of(std::uint8_t protocol) { return {.protocol = protocol}; }
SuperPacket super_packet(std::uint8_t protocol) {
  return super_packet_of(flow_of(protocol), segment_size, segments);
}

std::vector<double> copy(std::uint8_t protocol, const Settings& settings) {
  const SuperPacket super = super_packet(protocol);
  PacketBytes there(super.packet.size());
  return {time_of(settings, [&] {
    bare_copy_memory(there.data(), super.packet.data(), there.size());
    must_be_there(there.data());
  })};
}

/// Segments into separate memory, with complete checksums.
std::vector<double> segment(std::uint8_t protocol, const Settings& settings) {
  SuperPacket super = super_packet(protocol);
  PacketBytes there(2 * super.packet.size());
  Segmenter segmenter;
  std::size_t size = 0;
  const auto once = [&] {
    segmenter.start(super.packet, super.offload, DeviceKind::tun);
    size = 0;
    while (const std::size_t one =
               segmenter.next_into(MutableBytes{there}.subspan(size), ChecksumState::verified))
      size += one;
    must_be_there(there.data());
  };
  once();
  PacketBytes wanted;
  for (std::size_t i = 0; i < segments; ++i) {
    const PacketBytes datagram = datagram_of(flow_of(protocol), segment_size, i);
    wanted.insert(wanted.end(), datagram.begin(), datagram.end());
  }
  require(std::ranges::equal(Bytes{there}.first(size), wanted), "what came out is not what went in");
  return {time_of(settings, once)};
}

/// Segments in place, with checksums left to fill.
std::vector<double> segment_in_place(std::uint8_t protocol, const Settings& settings) {
  SuperPacket super = super_packet(protocol);
  const PacketBytes headers{super.packet.begin(), super.packet.begin() + super.offload.header_length};
  Segmenter segmenter;
  std::size_t count = 0;
  const auto once = [&] {
    std::ranges::copy(headers, super.packet.begin());
    segmenter.start(super.packet, super.offload, DeviceKind::tun);
    count = 0;
    for (Bytes one; !(one = segmenter.next_in_place(ChecksumState::to_fill)).empty(); ++count)
      must_be_there(one.data());
  };
  SuperPacket untouched = super;
  Segmenter other;
  PacketBytes wanted(2 * segment_size);
  segmenter.start(super.packet, super.offload, DeviceKind::tun);
  other.start(untouched.packet, untouched.offload, DeviceKind::tun);
  for (std::size_t i = 0; i < segments; ++i) {
    const Bytes one = segmenter.next_in_place(ChecksumState::to_fill);
    const std::size_t size = other.next_into(wanted, ChecksumState::to_fill);
    require(std::ranges::equal(one, Bytes{wanted}.first(size)), "what came out is not what went in");
  }
  once();
  require(count == segments, "not all came out");
  return {time_of(settings, once)};
}

/// Coalesces copies of datagrams with verified checksums into a super-packet.
std::vector<double> coalesce(std::uint8_t protocol, const Settings& settings) {
  std::vector<PacketBytes> datagrams;
  for (std::size_t i = 0; i < segments; ++i)
    datagrams.push_back(datagram_of(flow_of(protocol), segment_size, i));
  Coalescer coalescer{DeviceKind::tun};
  std::size_t packets = 0;
  std::size_t joined = 0;
  const auto once = [&] {
    for (const PacketBytes& datagram : datagrams)
      coalescer.add(datagram, {}, Keep::copy, OffloadFeatures::all());
    packets = 0;
    coalescer.flush([&](const Coalesced& packet) {
      ++packets;
      joined = packet.datagrams;
      must_be_there(packet.parts.front().iov_base);
    });
  };
  once();
  require(packets == 1 && joined == segments, "they were not joined into one");
  datagrams[segments / 2].back() ^= std::byte{1};
  once();
  require(packets > 1, "a wrong checksum was not noticed");
  datagrams[segments / 2].back() ^= std::byte{1};
  return {time_of(settings, once)};
}

std::vector<double> gigabytes_per_second(const Settings& settings, const std::function<void()>& once,
                                         std::size_t size) {
  return {static_cast<double>(size) / time_of(settings, once)};
}

constexpr std::size_t buffer_size = std::size_t{64} << 10;

std::vector<double> checksum(const Settings& settings) {
  const PacketBytes buffer(buffer_size, std::byte{0x5a});
  return gigabytes_per_second(
      settings,
      [&] {
        must_be_there(buffer.data());
        const volatile std::uint16_t sum = internet_checksum(buffer);
        static_cast<void>(sum);
      },
      buffer_size);
}

std::vector<double> read(const Settings& settings) {
  const PacketBytes buffer(buffer_size, std::byte{0x5a});
  return gigabytes_per_second(
      settings,
      [&] {
        must_be_there(buffer.data());
        const volatile std::uint64_t sum = bare_read_memory(buffer.data(), buffer.size());
        static_cast<void>(sum);
      },
      buffer_size);
}

Comparison beside_copy(const std::string& name, double reach,
                       std::vector<double> (*ours)(std::uint8_t, const Settings&), std::uint8_t protocol) {
  return {{{name, "ns", Better::lower, reach}},
          "memcpy",
          [=](const Settings& settings) { return ours(protocol, settings); },
          [=](const Settings& settings) { return copy(protocol, settings); }};
}

}  // namespace

std::vector<Comparison> memory_rows() {
  return {
      beside_copy("segment_tcp_64K", 1.2, segment, ip_protocol::tcp),
      beside_copy("segment_udp_64K", 1.2, segment, ip_protocol::udp),
      beside_copy("segment_tcp_64K_in_place", 0.3, segment_in_place, ip_protocol::tcp),
      beside_copy("segment_udp_64K_in_place", 0.3, segment_in_place, ip_protocol::udp),
      beside_copy("coalesce_tcp_64K", 1.8, coalesce, ip_protocol::tcp),
      beside_copy("coalesce_udp_64K", 1.8, coalesce, ip_protocol::udp),
      {{{"checksum_64K", "GB/s", Better::higher, 0.8}}, "reading", checksum, read},
  };
}

}  // namespace tunport::bench
