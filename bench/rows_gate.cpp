/// `tunport gate --sandbox` against Debian's slirp4netns and pasta, and against a plain veth, all with
/// default options (gateway.hpp has the picture). Every process is free to use both cores.

#include <fmt/format.h>

#include "gateway.hpp"
#include "iperf.hpp"
#include "rows.hpp"
#include "talk.hpp"

namespace tunport::bench {
namespace {

struct Rival {
  Peer peer;
  std::string name;
};

/// Measures with servers at the other end of a gateway.
void with_gateway(Peer peer, const std::function<void(const Stage&, const Gateway&)>& measure) {
  const Stage stage;
  const ServerNamespace servers;
  Child server{Core::both, [&](const auto& ready) { serve(servers.fileno(), ready); }};
  server.wait_ready();
  const Gateway gateway{peer};
  measure(stage, gateway);
}

/// Runs `work` as a process in the clients' namespace.
void run_client(const Gateway& gateway, double seconds, const std::function<void()>& work) {
  Child client{Core::both, [&](const auto&) { inside(gateway.client_namespace(), work); }};
  client.join(std::chrono::milliseconds{static_cast<int>(seconds * 1000) + 20'000});
}

Measure tcp(Peer peer, Direction direction, unsigned streams, bool with_cpu) {
  return [=](const Settings& settings) -> std::vector<double> {
    need_iperf();
    const ServerNamespace servers;
    Child greeter{Core::both, [&](const auto& ready) { serve(servers.fileno(), ready); }};
    greeter.wait_ready();
    const Gateway gateway{peer};
    const double cpu_before = gateway.cpu_time();
    const TcpStream stream = run_iperf(servers.fileno(), server_address, settings.seconds, direction,
                                       gateway.client_namespace(), streams);
    const double cpu = gateway.cpu_time() - cpu_before;
    require(stream.bytes > 0, "nothing was received");
    std::vector<double> figures{stream.bits_per_second / 1e9};
    if (with_cpu) figures.push_back(cpu / (stream.bytes / 1e9));
    return figures;
  };
}

Measure connections(Peer peer, std::size_t at_once) {
  return [=](const Settings& settings) -> std::vector<double> {
    double rate = 0;
    with_gateway(peer, [&](const Stage& stage, const Gateway& gateway) {
      run_client(gateway, settings.seconds, [&] {
        stage.page().figures[0] = connections_per_second(server_address, at_once, settings.seconds);
      });
      rate = stage.page().figures[0];
    });
    return {rate};
  };
}

Measure latency(Peer peer) {
  return [=](const Settings& settings) -> std::vector<double> {
    double time = 0;
    with_gateway(peer, [&](const Stage& stage, const Gateway& gateway) {
      run_client(gateway, settings.seconds,
                 [&] { stage.page().figures[0] = round_trip_time(server_address, settings.seconds); });
      time = stage.page().figures[0];
    });
    return {time};
  };
}

/// Resident memory with connections that stand.
Measure memory(Peer peer) {
  return [=](const Settings& settings) -> std::vector<double> {
    double megabytes = 0;
    with_gateway(peer, [&](const Stage& stage, const Gateway& gateway) {
      const std::size_t count = settings.smoke ? 10 : 1000;
      Child client{Core::both, [&](const auto& ready) {
                     inside(gateway.client_namespace(), [&] {
                       const auto connections = hold_connections(server_address, count);
                       stage.page().figures[0] = static_cast<double>(connections.size());
                       ready();
                       while (stage.page().stop == 0) sleep_for(0.01);
                     });
                   }};
      client.wait_ready(std::chrono::seconds{20});
      megabytes = gateway.memory();
      stage.stop_peer();
      client.join();
    });
    return {megabytes};
  };
}

}  // namespace

std::vector<Comparison> gate_rows() {
  std::vector<Comparison> rows;
  for (const auto& [peer, name] :
       {Rival{Peer::slirp4netns, "slirp4netns"}, Rival{Peer::pasta, "pasta"}, Rival{Peer::veth, "veth"}}) {
    const bool is_gateway = peer != Peer::veth;
    const auto goal = [rival = peer](double pasta, std::optional<double> slirp4netns = {}) {
      if (rival == Peer::pasta) return std::optional{pasta};
      return rival == Peer::slirp4netns ? slirp4netns : std::nullopt;
    };
    for (const Direction direction : {Direction::there, Direction::back})
      for (const unsigned streams : {1U, 4U}) {
        const std::string way = direction == Direction::there ? "up" : "down";
        const bool with_cpu = is_gateway && streams == 1;
        Comparison comparison{{{fmt::format("gate_tcp_{}_{}_{}", way, streams, name), "Gbit/s",
                                Better::higher, goal(1.0, 3.0)}},
                              name,
                              tcp(Peer::tunport, direction, streams, with_cpu),
                              tcp(peer, direction, streams, with_cpu)};
        if (with_cpu)
          comparison.rows.push_back({fmt::format("gate_cpu_{}_{}", way, name), "s/GB", Better::lower});
        rows.push_back(std::move(comparison));
      }
    for (const std::size_t at_once : {std::size_t{1}, std::size_t{32}})
      rows.push_back({{{fmt::format("gate_connections_per_second_{}_{}", at_once, name), "1/s",
                        Better::higher, goal(0.9)}},
                      name,
                      connections(Peer::tunport, at_once),
                      connections(peer, at_once)});
    rows.push_back({{{"gate_latency_p50_" + name, "us", Better::lower, goal(1.05)}},
                    name,
                    latency(Peer::tunport),
                    latency(peer)});
    if (is_gateway)
      rows.push_back({{{"gate_memory_" + name, "MB", Better::lower, goal(0.5)}},
                      name,
                      memory(Peer::tunport),
                      memory(peer)});
  }
  return rows;
}

}  // namespace tunport::bench
