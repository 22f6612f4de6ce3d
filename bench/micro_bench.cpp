/// Costs without a kernel: the checksum, and the path of a frame through the demultiplexers. Super-packets:
/// micro_segment.cpp.

#include <array>
#include <cstring>
#include <numeric>
#include <vector>

#include <benchmark/benchmark.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ethernet.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

std::vector<std::byte> some_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  unsigned state = 1;
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

/// RFC 1071 4.1, word by word.
std::uint16_t naive_checksum(Bytes bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2)
    sum += i + 1 < bytes.size() ? load_be16(bytes, i) : static_cast<std::uint32_t>(load_u8(bytes, i)) << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TUNPORT_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TUNPORT_WIDE
#endif

/// The least work that reads every byte, as wide as the machine: the speed of memory.
TUNPORT_WIDE std::uint64_t read_through(Bytes bytes) {
  std::uint64_t result = 0;
  const std::byte* data = bytes.data();
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, 8);
    result += word;
  }
  return result;
}

std::size_t copy(Bytes bytes) {
  static std::array<std::byte, 65536> there;
  std::memcpy(there.data(), bytes.data(), bytes.size());
  benchmark::ClobberMemory();
  return bytes.size();
}

template <auto Function>
void over_bytes(benchmark::State& state) {
  const auto bytes = some_bytes(static_cast<std::size_t>(state.range(0)));
  Bytes view{bytes};
  for (auto _ : state) {
    benchmark::DoNotOptimize(view);
    benchmark::DoNotOptimize(Function(view));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("bytes")->Arg(20)->Arg(64)->Arg(92)->Arg(1500)->Arg(65536);
}

BENCHMARK(over_bytes<internet_checksum>)->Name("checksum/tunport")->Apply(sizes);
BENCHMARK(over_bytes<naive_checksum>)->Name("checksum/naive")->Apply(sizes);
BENCHMARK(over_bytes<read_through>)->Name("checksum/reading_only")->Apply(sizes);
BENCHMARK(over_bytes<copy>)->Name("checksum/memcpy_only")->Apply(sizes);

/// A transport that counts writes.
class CountingTransport final : public FrameTransport {
 public:
  WriteResult write(Bytes datagram) override { return write_sequence({&datagram, 1}); }
  WriteResult write_sequence(std::span<const Bytes> parts) override {
    for (const Bytes part : parts) written += part.size();
    return WriteResult::make_sent();
  }
  WriteResult forward(const Packet& packet) override { return write(packet.bytes()); }
  using FrameTransport::drop;
  void drop(DropReason /*reason*/, std::size_t datagrams) override { dropped += datagrams; }
  DeviceKind kind() const override { return DeviceKind::tap; }
  Reactor& reactor() const override { return default_reactor(); }

  std::uint64_t written = 0;
  std::uint64_t dropped = 0;
};

class Count final : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override { bytes += datagram.data.size(); }
  std::uint64_t bytes = 0;
};

std::vector<std::byte> frame_of(std::size_t payload) {
  const Ipv4Address source{0x0a000001};
  const Ipv4Address destination{0x0a000002};
  constexpr std::size_t headers = EthernetHeader::size + Ipv4Header::size + UdpHeader::size;
  auto frame = some_bytes(headers + payload);
  const MutableBytes bytes{frame};
  EthernetHeader{MacAddress{{2, 0, 0, 0, 0, 2}}, MacAddress{{2, 0, 0, 0, 0, 1}}, 0x0800}.emit(bytes);
  Ipv4Header{.protocol = ip_protocol::udp,
             .source = source,
             .destination = destination,
             .payload_length = static_cast<std::uint16_t>(UdpHeader::size + payload)}
      .emit(bytes.subspan(EthernetHeader::size));
  UdpHeader{4242, 42}.emit(bytes.subspan(EthernetHeader::size + Ipv4Header::size), bytes.last(payload),
                           source, destination);
  return frame;
}

/// Delivers a frame again and again: Ethernet, IPv4, UDP, `protocol`.
void deliver(benchmark::State& state, DatagramProtocol& protocol, CountingTransport& transport) {
  UdpDemux udp;
  IpDemux ip;
  EthernetDemux ethernet;
  udp.add_proto(42, protocol);
  ip.add_proto(ip_protocol::udp, udp);
  ethernet.add_proto(0x0800, ip);
  ethernet.make_connection(transport);
  ethernet.do_start();
  const auto frame = frame_of(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    ethernet.make_connection(transport);
    ethernet.frame_received(Packet{frame});
  }
  ethernet.do_stop();
  state.SetItemsProcessed(state.iterations());
}

void demux(benchmark::State& state) {
  Count count;
  CountingTransport transport;
  deliver(state, count, transport);
  if (count.bytes != static_cast<std::uint64_t>(state.iterations() * state.range(0)) ||
      transport.dropped != 0)
    state.SkipWithError("a frame was not delivered");
}

void demux_echo(benchmark::State& state) {
  UdpEcho echo;
  CountingTransport transport;
  deliver(state, echo, transport);
  if (echo.echoes() != static_cast<std::uint64_t>(state.iterations()) || transport.dropped != 0)
    state.SkipWithError("a frame was not answered");
}

BENCHMARK(demux)->Name("demux/deliver")->ArgName("payload")->Arg(64)->Arg(1472);
BENCHMARK(demux_echo)->Name("demux/echo")->ArgName("payload")->Arg(64)->Arg(1472);

}  // namespace
}  // namespace tunport
