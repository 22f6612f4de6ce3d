/// IP packets carried over UDP: the example of a VPN (examples/vpn.cpp) at both ends, against a bare relay.
///
///   iperf3, flood ---> bench0 | relay | wire0 ---- veth ---- wire1 | relay | bench0 ---> iperf3, a sink
///                              here                       the second namespace
///
/// The relays have default options: super-packets from the TUN are segmented and sent in runs. The bare relay
/// has a TUN without offload, UDP_SEGMENT, UDP_GRO, and buffers of 4 MiB. All processes are free to use both
/// cores. `vpn_tcp_retransmits` counts the segments that TCP sent again for each GB, and one more, so that a
/// ratio exists without any.

#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/device/linux_links_internal.hpp"
#include "tunport/port/function_protocol.hpp"
#include "tunport/port/udp_port.hpp"

#include "iperf.hpp"
#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr unsigned tunnel_mtu = 1420;
constexpr std::uint16_t vpn_port = 5000;
constexpr Ipv4Address wire_here{0x0a4f0001};
constexpr Ipv4Address wire_there{0x0a4f0002};

/// One end of the tunnel.
struct End {
  Ipv4Address wire;
  Ipv4Address peer;
  Ipv4Address inside;  // the kernel's address on the TUN
};
constexpr End here{wire_here, wire_there, kernel_address};
constexpr End there{wire_there, wire_here, our_address};

void configure_tunnel(const End& end) {
  LinuxLinks links;
  links.set_mtu(interface_name, tunnel_mtu);
  configure_interface(interface_name, end.inside);
}

void relay_by_ports(const Stage& stage, const End& end, Tally& tally, const std::function<void()>& ready) {
  StageLoop loop{stage};
  TuntapPort tun{loop.reactor(), DeviceKind::tun, interface_name};
  const Endpoint peer{end.peer, vpn_port};
  UdpPort udp{loop.reactor(), {end.wire, vpn_port}};
  tun.on_frame([&](const Packet& packet) { udp.write_segments(peer, packet); }, PacketForm::whole);
  udp.on_datagram([&](const Datagram& datagram) {
    if (datagram.from == peer && tun.write(datagram.data)) bare_count(&tally, 1, datagram.data.size());
  });
  tun.start_listening();
  udp.start_listening();
  configure_tunnel(end);
  ready();
  loop.run();
  stage.page().refused += tun.statistics().exceptions + udp.statistics().exceptions;
}

void relay_bare(const Stage& stage, const End& end, Tally& tally, const std::function<void()>& ready) {
  BareLoop loop{};
  const int error = bare_open(&loop, interface_name, stage.stop_fd(), std::size_t{256} << 10, 0);
  if (error != 0) throw Error{errno_code(error), interface_name};
  const UniqueFd socket = udp_socket(vpn_port, end.wire);
  bare_udp_options(socket.get());
  sockaddr_storage to{};
  const socklen_t length = Endpoint{end.peer, vpn_port}.to_sockaddr(to);
  require(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), length) == 0, "no connection");
  configure_tunnel(end);
  ready();
  bare_relay(&loop, socket.get(), &tally);
}

using Relay = void (*)(const Stage&, const End&, Tally&, const std::function<void()>& ready);

/// Two relays, and the wire between them.
class Tunnel {
 public:
  Tunnel(const Stage& stage, Relay relay)
      : near_{Core::both,
              [&, relay](const auto& ready) {
                Tally uncounted{};
                relay(stage, here, uncounted, ready);
              }},
        far_{Core::both, [&, relay](const auto& ready) {
               require(::setns(other_.get(), CLONE_NEWNET) == 0, "no way into the namespace");
               relay(stage, there, stage.page().tally, ready);
             }} {
    near_.wait_ready();
    far_.wait_ready();
  }
  ~Tunnel() {
    std::error_code gone;
    LinuxLinks{}.remove("wire0", gone);
  }
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  int other_namespace() const { return other_.get(); }
  double cpu_time() const { return near_.cpu_time() + far_.cpu_time(); }
  void join() {
    near_.join();
    far_.join();
  }

 private:
  static UniqueFd make_wire() {
    UniqueFd other = make_namespace();
    run_command({"ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1"}, STDERR_FILENO);
    LinuxLinks{}.move_to_namespace("wire1", other.get());
    configure_interface("wire0", wire_here);
    inside(other.get(), [] { configure_interface("wire1", wire_there); });
    return other;
  }

  UniqueFd other_ = make_wire();
  Child near_;
  Child far_;
};

Measure tcp(Relay relay, Direction direction) {
  return [=](const Settings& settings) -> std::vector<double> {
    need_iperf();
    const Stage stage;
    const Page& page = stage.page();
    Tunnel tunnel{stage, relay};
    const double cpu_before = tunnel.cpu_time();
    const TcpStream stream = run_iperf(tunnel.other_namespace(), our_address, settings.seconds, direction);
    const double cpu = tunnel.cpu_time() - cpu_before;
    stage.stop_measured();
    tunnel.join();
    const double gigabytes = stream.bytes / 1e9;
    require(stream.bytes > 0, "nothing was received");
    require(direction == Direction::back || static_cast<double>(page.tally.bytes) >= stream.bytes,
            "more has been received than was carried");
    require(page.refused == 0, "a protocol threw");
    return {stream.bits_per_second / 1e9, cpu / gigabytes, (stream.retransmits + 1) / gigabytes};
  };
}

/// Datagrams of 64 B that come out at the far end, per second.
Measure small_datagrams(Relay relay) {
  return [=](const Settings& settings) -> std::vector<double> {
    const Stage stage;
    Page& page = stage.page();
    Tunnel tunnel{stage, relay};
    UniqueFd sink;
    inside(tunnel.other_namespace(), [&] { sink = udp_socket(discard_port, our_address); });
    Child sender{Core::both, [&](const auto&) { flood(page, 32); }};
    constexpr double warm_up = 0.2;
    sleep_for(warm_up);
    const std::uint64_t before = stage.packets();
    const double cpu_before = tunnel.cpu_time();
    const double start = now();
    sleep_for(settings.seconds);
    const auto packets = static_cast<double>(stage.packets() - before);
    const double cpu = tunnel.cpu_time() - cpu_before;
    const double elapsed = now() - start;
    stage.stop_peer();
    sender.join();
    check_flood(page);
    stage.stop_measured();
    tunnel.join();
    require(packets > 0, "nothing came out");
    return {packets / elapsed / 1e6, cpu / packets * 1e9};
  };
}

}  // namespace

std::vector<Comparison> vpn_rows() {
  const char* const baseline = "bare relay, UDP_GRO and UDP_SEGMENT";
  std::vector<Comparison> rows;
  for (const auto& [name, direction] : {std::pair{std::string{"vpn_tcp"}, Direction::there},
                                        std::pair{std::string{"vpn_tcp_back"}, Direction::back}})
    rows.push_back({{{name, "Gbit/s", Better::higher, 0.95},
                     {name + "_cpu", "s/GB", Better::lower},
                     {name + "_retransmits", "1/GB", Better::lower, std::nullopt, 100}},
                    baseline,
                    tcp(relay_by_ports, direction),
                    tcp(relay_bare, direction)});
  rows.push_back({{{"vpn_udp_64B", "Mpps", Better::higher}, {"vpn_udp_64B_cpu", "ns", Better::lower}},
                  baseline,
                  small_datagrams(relay_by_ports),
                  small_datagrams(relay_bare)});
  return rows;
}

}  // namespace tunport::bench
