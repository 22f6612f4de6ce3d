/// Forwarding between two interfaces in separate network namespaces: two ports on a reactor, against a loop
/// of reads and writes, both with super-packets.
///
///   sender ---> bench0 |  measured process  | bench1 ---> receiver
///              here                                       the second namespace
///
/// TCP: a stream of iperf3, with both ends free to use both cores, because wake-ups bound a single stream
/// more than the cores do. forward_uso_64B: a flood of UDP super-packets to a socket without a reader and
/// without super-packets. Datagrams count as delivered when the socket drops them.

#include "iperf.hpp"
#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::size_t ethernet_mtu = 1500;

/// Opens two devices, and forwards between them until the stage stops.
using Forwarder = void (*)(const Stage&, DeviceKind, int other_namespace, const std::function<void()>& ready);

void configure_both(int other_namespace) {
  configure_interface();
  inside(other_namespace, [] { configure_interface(other_interface_name, our_address); });
}

void forward_bare(const Stage& stage, DeviceKind kind, int other_namespace,
                  const std::function<void()>& ready) {
  const unsigned flags = bare_offload | (kind == DeviceKind::tap ? unsigned{bare_tap} : 0U);
  BareLoop one = open_bare(stage, flags);
  BareLoop other{};
  inside(other_namespace, [&] { other = open_bare(stage, flags, other_interface_name); });
  configure_both(other_namespace);
  ready();
  bare_forward(&one, &other, &stage.page().tally);
}

class Forward final : public FrameProtocol {
 public:
  explicit Forward(Tally& tally) : tally_{tally} {}
  void to(FrameTransport& out) { out_ = &out; }

 private:
  bool accepts_super_packets() const override { return true; }
  void frame_received(const Packet& packet) override {
    if (out_->forward(packet)) bare_count(&tally_, 1, packet.size());
  }

  Tally& tally_;
  FrameTransport* out_ = nullptr;
};

void forward_ports(const Stage& stage, DeviceKind kind, int other_namespace,
                   const std::function<void()>& ready) {
  Forward there{stage.page().tally};
  Forward back{stage.page().tally};
  PortLoop one{there, stage, {}, kind};
  TuntapPort other{one.reactor(),
                   kind,
                   other_interface_name,
                   back,
                   {.device = {.network_namespace = "/proc/self/fd/" + std::to_string(other_namespace)}}};
  other.start_listening();
  there.to(other);
  back.to(one.port());
  configure_both(other_namespace);
  ready();
  one.run();
  one.note_refused(other);
}

/// Gbit/s of a TCP stream, and the forwarder's CPU seconds for each GB of the stream.
std::vector<double> forward_tcp(Forwarder forward, DeviceKind kind, const Settings& settings) {
  need_uso();
  need_iperf();
  const Stage stage;
  const Page& page = stage.page();
  const UniqueFd other_namespace = make_namespace();
  Child forwarder{Core::measured,
                  [&](const auto& ready) { forward(stage, kind, other_namespace.get(), ready); }};
  forwarder.wait_ready();
  const double cpu_before = forwarder.cpu_time();
  const TcpStream stream = run_iperf(other_namespace.get(), our_address, settings.seconds);
  const double cpu = forwarder.cpu_time() - cpu_before;
  stage.stop_measured();
  forwarder.join();

  const double bytes = stream.bytes;
  require(bytes > 0 && static_cast<double>(page.tally.bytes) >= bytes,
          "more has been received than was passed on");
  // The packets include acknowledgments, and the first round trips send small packets.
  require(page.tally.bytes / page.tally.packets > ethernet_mtu, "no super-packets were passed on");
  require(page.refused <= strangers, "the ports dropped packets");
  return {stream.bits_per_second / 1e9, cpu / (bytes / 1e9)};
}

/// Delivered datagrams per second, and the forwarder's CPU time for each.
std::vector<double> forward_uso(Forwarder forward, const Settings& settings) {
  need_uso();
  const Stage stage;
  Page& page = stage.page();
  const UniqueFd other_namespace = make_namespace();
  std::uint64_t delivered = 0;
  UniqueFd sink;
  Child forwarder{Core::measured,
                  [&](const auto& ready) { forward(stage, DeviceKind::tun, other_namespace.get(), ready); }};
  forwarder.wait_ready();
  inside(other_namespace.get(), [&] { sink = udp_socket(discard_port, our_address); });
  Child sender{Core::peer, [&](const auto&) { flood(page, 0); }};
  const Rate rate = observe(stage, forwarder, settings.seconds);
  stage.stop_peer();
  sender.join();
  check_flood(page);
  const LinkCounters link = link_counters_after(page.sent / page.segments);
  stage.stop_measured();
  forwarder.join();
  inside(other_namespace.get(), [&] { delivered = snmp_counter("Udp", "RcvbufErrors"); });
  const auto each = static_cast<double>(page.segments);
  const std::uint64_t super_packets = page.tally.packets;
  require(link.read == super_packets, "not all packets read were passed on");
  require(page.tally.bytes == super_packets * (packet_size - payload_size + page.segments * payload_size),
          "packets were not of the size that was sent");
  require(page.sent == (super_packets + link.dropped) * page.segments,
          "packets sent were neither passed on nor dropped");
  constexpr std::uint64_t socket_room = 4096;
  require(
      delivered <= super_packets * page.segments && delivered + socket_room >= super_packets * page.segments,
      "packets passed on have not arrived");
  require(page.refused == 0, "the ports dropped packets");
  return {rate.packets_per_second * each / 1e6, rate.cpu_seconds_per_packet / each * 1e9};
}

Measure tcp(Forwarder forward, DeviceKind kind) {
  return [=](const Settings& settings) { return forward_tcp(forward, kind, settings); };
}

Measure uso(Forwarder forward) {
  return [=](const Settings& settings) { return forward_uso(forward, settings); };
}

}  // namespace

std::vector<Comparison> forward_rows() {
  const char* const baseline = "bare, passing on whole";
  return {
      {{{"forward_tcp_tun", "Gbit/s", Better::higher, 0.97}, {"forward_cpu", "s/GB", Better::lower, 1.05}},
       baseline,
       tcp(forward_ports, DeviceKind::tun),
       tcp(forward_bare, DeviceKind::tun)},
      {{{"forward_tcp_tap", "Gbit/s", Better::higher, 0.97},
        {"forward_cpu_tap", "s/GB", Better::lower, 1.05}},
       baseline,
       tcp(forward_ports, DeviceKind::tap),
       tcp(forward_bare, DeviceKind::tap)},
      {{{"forward_uso_64B", "Mpps", Better::higher, 0.95}, {"forward_uso_64B_cpu", "ns", Better::lower}},
       baseline,
       uso(forward_ports),
       uso(forward_bare)},
  };
}

}  // namespace tunport::bench
