/// Writing datagrams that the kernel drops at the end of the path: UDP at a socket without a reader, TCP at
/// an address that is not local (so without an answer). The whole path is inside the write, at the writer's
/// cost.
///
/// The rows with a corked port hold a `Cork` for 64 writes, like the answers to a burst. The super-packets of
/// the baseline are the best result for 64 datagrams: a super-packet of 64 x 64 B, or two of 46 and 18 x
/// 1400 B, because of the limit of an IP packet. In write_64B and write_64B_burst each datagram of a round
/// has its own flow.

#include <array>
#include <atomic>
#include <functional>
#include <optional>

#include <sys/socket.h>

#include "tunport/protocol/ip_demux.hpp"

#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::size_t round = 64;  // datagrams under a cork, the most reads of a burst
constexpr std::size_t longest_packet = 65535;
constexpr std::uint64_t socket_room = 4096;  // the most packets kept by a socket
constexpr Ipv4Address nobody{our_address.value() + 97};

/// The datagrams to write, and their receiver.
struct Traffic {
  Flow flow;
  std::size_t payload = payload_size;
  bool one_flow = true;
  bool super_receiver = false;

  std::vector<PacketBytes> datagrams() const {
    std::vector<PacketBytes> result;
    for (std::size_t i = 0; i < round; ++i) {
      Flow its = flow;
      if (!one_flow) its.source_port = static_cast<std::uint16_t>(its.source_port + i);
      result.push_back(datagram_of(its, payload, one_flow ? i : 0));
    }
    return result;
  }
  std::size_t headers() const { return datagram_of(flow, 0).size(); }
  /// The number of datagrams in each super-packet of a round.
  std::vector<std::size_t> super_packets() const {
    const std::size_t most = (longest_packet - headers()) / payload;
    std::vector<std::size_t> counts;
    for (std::size_t left = round; left != 0; left -= counts.back()) counts.push_back(std::min(left, most));
    return counts;
  }
};

enum class Writer : std::uint8_t { bare, bare_unframed, bare_super, port, plain_port, corked_port };

void write_bare(const Stage& stage, const Traffic& traffic, Writer writer,
                const std::function<void()>& ready) {
  const bool super = writer == Writer::bare_super;
  BareLoop loop = open_bare(stage, writer == Writer::bare_unframed ? 0U : unsigned{bare_offload});
  std::vector<PacketBytes> data;
  std::vector<BarePacket> packets;
  if (super)
    for (const std::size_t count : traffic.super_packets())
      data.push_back(framed(super_packet_of(traffic.flow, traffic.payload, count)));
  else
    data = traffic.datagrams();
  if (writer == Writer::bare)
    for (PacketBytes& packet : data) packet = framed({packet, {}});
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::size_t count = super ? traffic.super_packets()[i] : 1;
    packets.push_back({data[i].data(), data[i].size(), count, count * (traffic.headers() + traffic.payload)});
  }
  ready();
  Page& page = stage.page();
  bare_write(&loop, packets.data(), packets.size(), &page.stop, &page.tally);
}

void write_port(const Stage& stage, const Traffic& traffic, Writer writer,
                const std::function<void()>& ready) {
  IpDemux nobody_home;
  PortOptions options;
  if (writer == Writer::plain_port) options.offload = OffloadFeatures::none();
  PortLoop loop{nobody_home, stage, options};
  const std::vector<PacketBytes> datagrams = traffic.datagrams();
  ready();
  TuntapPort& port = loop.port();
  Page& page = stage.page();
  while (std::atomic_ref{page.stop}.load(std::memory_order_relaxed) == 0) {
    std::optional<Cork> cork;
    if (writer == Writer::corked_port) cork.emplace(loop.reactor());
    for (const PacketBytes& datagram : datagrams)
      if (port.write(datagram)) bare_count(&page.tally, 1, datagram.size());
  }
}

void write(Writer writer, const Stage& stage, const Traffic& traffic, const std::function<void()>& ready) {
  if (writer == Writer::port || writer == Writer::plain_port || writer == Writer::corked_port)
    write_port(stage, traffic, writer, ready);
  else
    write_bare(stage, traffic, writer, ready);
}

/// The kernel's counter at the end of the packets' path.
std::uint64_t arrived(const Traffic& traffic) {
  return traffic.flow.protocol == ip_protocol::udp ? snmp_counter("Udp", "RcvbufErrors")
                                                   : snmp_counter("Ip", "InAddrErrors");
}

/// The number of packets expected in `arrived`: before a socket without super-packets the kernel segments.
std::uint64_t expected(Writer writer, const Traffic& traffic, std::uint64_t datagrams) {
  const bool udp = traffic.flow.protocol == ip_protocol::udp;
  const bool joined = traffic.one_flow && (writer == Writer::bare_super || writer == Writer::corked_port);
  if (!joined || (udp && !traffic.super_receiver)) return datagrams;
  return datagrams / round * traffic.super_packets().size();
}

std::vector<double> write_flood(Writer writer, const Traffic& traffic, const Settings& settings) {
  const Stage stage;
  const Page& page = stage.page();
  const bool udp = traffic.flow.protocol == ip_protocol::udp;
  const std::uint64_t before = arrived(traffic);
  const std::uint64_t errors_before = snmp_counter("Udp", "InCsumErrors");
  Child writing{Core::measured, [&](const auto& ready) {
                  UniqueFd sink;
                  write(writer, stage, traffic, [&] {
                    configure_interface();
                    if (udp) sink = udp_socket(discard_port);
                    if (traffic.super_receiver) take_super_packets(sink.get());
                    ready();
                  });
                  if (!udp) return;
                  // The packets kept by the socket show the arrivals.
                  std::array<std::byte, 2048> first{};
                  const ssize_t size =
                      ::recv(sink.get(), first.data(), first.size(), MSG_DONTWAIT | MSG_TRUNC);
                  require(size > 0 && static_cast<std::size_t>(size) % traffic.payload == 0,
                          "what was written did not arrive");
                }};
  writing.wait_ready();
  const Rate rate = observe(stage, writing, settings.seconds);
  stage.stop_peer();
  writing.join();
  require(page.refused == 0, "the port refused packets");
  require(page.tally.bytes == page.tally.packets * (traffic.headers() + traffic.payload),
          "packets were not of the size that was wanted");
  const std::uint64_t there = arrived(traffic) - before;
  const std::uint64_t wanted = expected(writer, traffic, page.tally.packets);
  require(there <= wanted && there + (udp ? socket_room : 2) >= wanted,
          "packets counted have not arrived, or not as super-packets");
  require(snmp_counter("Udp", "InCsumErrors") == errors_before, "checksums were wrong");
  return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
}

Measure measure(Writer writer, const Traffic& traffic) {
  return [=](const Settings& settings) {
    if (writer == Writer::bare_super || (writer == Writer::corked_port && traffic.one_flow)) need_uso();
    return write_flood(writer, traffic, settings);
  };
}

Comparison compare_writers(const std::string& name, std::optional<double> reach, const char* baseline,
                           Writer ours, Writer theirs, const Traffic& traffic) {
  return {{{name, "Mpps", Better::higher, reach}, {name + "_cpu", "ns", Better::lower}},
          baseline,
          measure(ours, traffic),
          measure(theirs, traffic)};
}

}  // namespace

std::vector<Comparison> write_rows() {
  const Traffic small;
  const Traffic large{.flow = {}, .payload = 1400};
  const Traffic small_to_super_receiver{.flow = {}, .super_receiver = true};
  const Traffic many_flows{.flow = {}, .one_flow = false};
  const Traffic tcp{.flow = {.protocol = ip_protocol::tcp, .destination = nobody}, .payload = 1400};
  const char* const ready_made = "bare, ready-made super";
  const char* const plain = "bare, single packets";
  return {
      compare_writers("write_uso_64B", 0.90, ready_made, Writer::corked_port, Writer::bare_super, small),
      compare_writers("write_uso_1400B", 0.70, ready_made, Writer::corked_port, Writer::bare_super, large),
      compare_writers("write_uso_gro_64B", 20, plain, Writer::corked_port, Writer::bare,
                      small_to_super_receiver),
      compare_writers("write_tcp_1400B", 0.70, ready_made, Writer::corked_port, Writer::bare_super, tcp),
      compare_writers("write_64B", 0.97, plain, Writer::port, Writer::bare, many_flows),
      compare_writers("write_64B_burst", 0.97, plain, Writer::corked_port, Writer::bare, many_flows),
      compare_writers("write_64B_off", 0.97, "bare, no virtio header", Writer::plain_port,
                      Writer::bare_unframed, many_flows),
      compare_writers("write_64B_unlike", std::nullopt, "bare, no virtio header", Writer::port,
                      Writer::bare_unframed, many_flows),
  };
}

}  // namespace tunport::bench
