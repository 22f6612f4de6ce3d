/// The cost of joining datagrams, without a kernel: a burst of 64 KiB, against a copy of the same bytes, and
/// single datagrams.

#include <algorithm>
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

/// Adjacent datagrams, as in the slab of a burst.
struct Burst {
  std::vector<std::byte> slab;
  std::vector<Bytes> datagrams;
};

/// Makes a burst of `count` datagrams; `flows` of them take turns.
Burst burst_of(std::uint8_t protocol, std::size_t count, std::size_t payload, std::size_t flows) {
  const std::size_t transport_header = protocol == ip_protocol::udp ? UdpHeader::size : TcpHeader::size;
  const std::size_t headers = Ipv4Header::size + transport_header;
  const Ipv4Address source{0x0a000001};
  const Ipv4Address destination{0x0a000002};
  Burst burst;
  burst.slab.resize(count * (headers + payload));
  unsigned state = 1;
  for (std::byte& byte : burst.slab)
    byte = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  for (std::size_t i = 0; i < count; ++i) {
    const auto port = static_cast<std::uint16_t>(1024 + i % flows);
    const MutableBytes datagram{burst.slab.data() + i * (headers + payload), headers + payload};
    Ipv4Header{.identification = static_cast<std::uint16_t>(i),
               .dont_fragment = true,
               .protocol = protocol,
               .source = source,
               .destination = destination,
               .payload_length = static_cast<std::uint16_t>(transport_header + payload)}
        .emit(datagram);
    const MutableBytes transport = datagram.subspan(Ipv4Header::size);
    if (protocol == ip_protocol::udp) {
      UdpHeader{port, 42}.emit(transport, datagram.last(payload), source, destination);
    } else {
      TcpHeader{.source_port = port,
                .destination_port = 80,
                .sequence = static_cast<std::uint32_t>(i / flows * payload)}
          .emit(transport, datagram.last(payload), source, destination);
    }
    burst.datagrams.emplace_back(datagram);
  }
  return burst;
}

/// Adds the burst and flushes, again and again. `packets`: the packets expected from a flush.
void coalesce(benchmark::State& state, const Burst& burst, std::size_t packets, Keep keep) {
  Coalescer coalescer{DeviceKind::tun};
  for (auto _ : state) {
    for (const Bytes datagram : burst.datagrams)
      if (!coalescer.add(datagram, {}, keep, OffloadFeatures::all())) state.SkipWithError("full");
    std::size_t sent = 0;
    coalescer.flush([&](const Coalesced& packet) {
      benchmark::DoNotOptimize(packet.parts.data());
      ++sent;
    });
    benchmark::ClobberMemory();
    if (sent != packets) state.SkipWithError("other packets than expected");
  }
  const auto count = static_cast<std::int64_t>(burst.datagrams.size());
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(burst.slab.size()));
}

constexpr std::size_t mss = 1448;
constexpr std::size_t burst_size = 45;

void copy_64k(benchmark::State& state) {
  const Burst burst = burst_of(ip_protocol::tcp, burst_size, mss, 1);
  std::vector<std::byte> there(burst.slab.size());
  for (auto _ : state) {
    std::memcpy(there.data(), burst.slab.data(), burst.slab.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(burst.slab.size()));
}

template <std::uint8_t protocol, Keep keep>
void coalesce_64k(benchmark::State& state) {
  coalesce(state, burst_of(protocol, burst_size, mss, 1), 1, keep);
}

/// A burst of 128 datagrams of 64 bytes, in `range(0)` flows.
void add_udp(benchmark::State& state) {
  const auto flows = static_cast<std::size_t>(state.range(0));
  coalesce(state, burst_of(ip_protocol::udp, 128, 64, flows), std::max<std::size_t>(2, flows), Keep::copy);
}

void add_udp_none_joins(benchmark::State& state) {
  coalesce(state, burst_of(ip_protocol::udp, Coalescer::max_items, 64, Coalescer::max_items),
           Coalescer::max_items, Keep::copy);
}

/// The least work of a coalescer on datagrams that do not join.
void copy_92(benchmark::State& state) {
  const Burst burst = burst_of(ip_protocol::udp, 64, 64, 64);
  std::vector<std::byte> there(64 * 160);
  for (auto _ : state) {
    std::byte* to = there.data();
    for (const Bytes datagram : burst.datagrams) {
      std::memcpy(to, datagram.data(), datagram.size());
      to += 160;
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * 64);
}

BENCHMARK(copy_64k)->Name("coalesce/memcpy_only_64K");
BENCHMARK(coalesce_64k<ip_protocol::tcp, Keep::copy>)->Name("coalesce/tcp_64K");
BENCHMARK(coalesce_64k<ip_protocol::udp, Keep::copy>)->Name("coalesce/udp_64K");
BENCHMARK(coalesce_64k<ip_protocol::tcp, Keep::reference>)->Name("coalesce/tcp_64K_by_reference");
BENCHMARK(add_udp)->Name("coalesce/add_udp_64B")->ArgName("flows")->Arg(1)->Arg(4)->Arg(16);
BENCHMARK(add_udp_none_joins)->Name("coalesce/add_udp_64B_none_joins");
BENCHMARK(copy_92)->Name("coalesce/memcpy_only_92B");

}  // namespace
}  // namespace tunport
