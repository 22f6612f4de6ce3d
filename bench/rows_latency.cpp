/// UDP ping-pong at 1 kHz: a socket in the namespace sends a ping to an address behind the TUN, and an echo
/// there answers. Both ends sleep in between, so waking a core takes most of the time. A port that spins for
/// longer than the time between two pings (`spin`) saves a wake-up of two.

#include <algorithm>
#include <cstring>
#include <ctime>

#include <sys/socket.h>
#include <sys/time.h>

#include "tunport/host/udp_echo.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"

#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::uint16_t echo_port = 7;
constexpr double interval = 1e-3;
constexpr std::chrono::milliseconds spin{2};
constexpr std::size_t warm_up_pings = 100;
constexpr std::size_t least_pings = 200;

void echo_bare(const Stage& stage, const std::function<void()>& ready) {
  BareLoop loop = open_bare(stage, bare_offload);
  ready();
  bare_echo(&loop, &stage.page().tally);
}

void echo_bare_spinning(const Stage& stage, const std::function<void()>& ready) {
  BareLoop loop = open_bare(stage, bare_offload);
  ready();
  bare_echo_spinning(&loop, &stage.page().stop, &stage.page().tally);
}

template <bool spins>
void echo_port_protocols(const Stage& stage, const std::function<void()>& ready) {
  UdpEcho echo;
  UdpDemux udp;
  IpDemux ip;
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(echo_port, echo);
  {
    PortOptions options;
    if (spins) options.spin = spin;
    PortLoop loop{ip, stage, options};
    ready();
    loop.run();
  }
  stage.page().tally.packets = echo.echoes();
}

void sleep_until(double when) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(when);
  time.tv_nsec = static_cast<long>((when - static_cast<double>(time.tv_sec)) * 1e9);
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}

/// Pings, and stores p50 and p99 in µs.
void ping(Page& page, double seconds) {
  const UniqueFd fd = udp_socket_to(echo_port);
  const timeval patience{0, 200'000};
  require(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0, "no time limit");
  const std::size_t wanted = std::max(least_pings, static_cast<std::size_t>(seconds / interval));
  std::vector<double> times;
  times.reserve(wanted);
  std::array<std::byte, payload_size> out{};
  std::array<std::byte, payload_size + 1> in{};
  double next = now();
  for (std::size_t i = 0; i < warm_up_pings + wanted; ++i) {
    next = std::max(next + interval, now());
    sleep_until(next);
    std::memcpy(out.data(), &i, sizeof i);
    const double start = now();
    require(::send(fd.get(), out.data(), out.size(), 0) == ssize_t{payload_size}, "could not send");
    ++page.sent;
    require(::recv(fd.get(), in.data(), in.size(), 0) == ssize_t{payload_size}, "an echo was lost");
    const double time = now() - start;
    require(std::memcmp(in.data(), out.data(), out.size()) == 0, "an echo was not what had been sent");
    if (i >= warm_up_pings) times.push_back(time * 1e6);
  }
  std::ranges::sort(times);
  page.figures[0] = times[times.size() / 2];
  page.figures[1] = times[times.size() * 99 / 100];
}

std::vector<double> ping_pong(void (*echo)(const Stage&, const std::function<void()>&),
                              const Settings& settings) {
  const Stage stage;
  Page& page = stage.page();
  Child echoing{Core::measured, [&](const auto& ready) {
                  echo(stage, [&] {
                    configure_interface();
                    ready();
                  });
                }};
  echoing.wait_ready();
  const double seconds = 2 * settings.seconds;
  Child pinging{Core::peer, [&](const auto&) { ping(page, seconds); }};
  pinging.join(std::chrono::milliseconds{static_cast<int>(seconds * 2000) + 5000});
  stage.stop_peer();  // the spinning baseline, too
  stage.stop_measured();
  echoing.join();
  require(page.sent == page.tally.packets, "not all answers came from the echo");
  require(page.refused <= strangers, "the port dropped packets");
  return {page.figures[0], page.figures[1]};
}

}  // namespace

std::vector<Comparison> latency_rows() {
  const auto bare = [](const Settings& settings) { return ping_pong(echo_bare, settings); };
  return {
      {{{"echo_latency_p50", "us", Better::lower, 1.05}, {"echo_latency_p99", "us", Better::lower, 1.05}},
       "bare echo, sleeping",
       [](const Settings& settings) { return ping_pong(echo_port_protocols<false>, settings); },
       bare},
      {{{"echo_latency_p50_spin", "us", Better::lower, 0.30}, {"echo_latency_p99_spin", "us", Better::lower}},
       "bare echo, sleeping",
       [](const Settings& settings) { return ping_pong(echo_port_protocols<true>, settings); },
       bare},
      {{{"echo_latency_p50_spin_both", "us", Better::lower},
        {"echo_latency_p99_spin_both", "us", Better::lower}},
       "bare echo, spinning",
       [](const Settings& settings) { return ping_pong(echo_port_protocols<true>, settings); },
       [](const Settings& settings) { return ping_pong(echo_bare_spinning, settings); }},
  };
}

}  // namespace tunport::bench
