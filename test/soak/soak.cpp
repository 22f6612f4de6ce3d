// `tunport_soak SECONDS`: two pairs of ports, TUN and TAP, carry real traffic between two network namespaces,
// while their links flap, are deleted, and the ports are stopped and started again. At the end memory and
// descriptors are as after the warm-up, and each port's counters are closed. Prints one line; the status is 1
// if a bound is missed. Run by scripts/soak, in a network namespace of its own.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/log.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace {

using namespace tunport;
using namespace std::chrono_literals;

constexpr long most_growth = 8L << 20;  // bytes of memory: the allocator's own slack
constexpr auto event_interval = 150ms;

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all{"/proc/self/fd"};
  return std::distance(begin(all), end(all));
}

long resident_bytes() {
  std::ifstream file{"/proc/self/statm"};
  long whole = 0;
  long resident = 0;
  file >> whole >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// Runs a command of the shell in the namespace of `where`, until killed.
class Shell {
 public:
  Shell(const std::string& line, int where) : pid_{::fork()} {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0);
    const int null = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(null, fd);
    if (where >= 0 && ::setns(where, CLONE_NEWNET) != 0) ::_exit(1);
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(1);
  }
  ~Shell() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

 private:
  pid_t pid_;
};

/// Forwards each packet to the other port, and counts datagrams.
class Passer : public FrameProtocol {
 public:
  bool accepts_super_packets() const override { return true; }
  void frame_received(const Packet& packet) override {
    const std::size_t datagrams = packet.datagrams();
    delivered += datagrams;
    to->written += datagrams;
    to->port->forward(packet);
  }
  std::uint64_t delivered = 0;
  std::uint64_t written = 0;  // to the port of this passer
  std::unique_ptr<TuntapPort> port;
  Passer* to = nullptr;
  std::uint64_t restarts = 0;
};

class Soak {
 public:
  Soak() {
    const int here = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (::unshare(CLONE_NEWNET) != 0) std::perror("soak: a second network namespace");
    far_ = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || ::setns(here, CLONE_NEWNET) != 0) std::abort();
    ::close(here);
    make_pair(0, DeviceKind::tun, "10.77.0.");
    make_pair(2, DeviceKind::tap, "10.78.0.");
  }
  ~Soak() { ::close(far_); }
  Soak(const Soak&) = delete;
  Soak& operator=(const Soak&) = delete;

  int run(std::chrono::seconds time) {
    for (Passer& passer : passers_) start(passer);
    const auto begin = Clock::now();
    long memory = 0;
    std::ptrdiff_t descriptors = 0;
    {
      const Shell server{"iperf3 -s -B 10.77.0.2 & iperf3 -s -B 10.78.0.2 & while :; do sleep 60; done",
                         far_};
      const Shell tun{traffic("10.77.0.2"), -1};
      const Shell tap{traffic("10.78.0.2"), -1};
      auto next = begin;
      while (Clock::now() - begin < time) {
        reactor_.run_once(10ms);
        if (Clock::now() < next) continue;
        next = Clock::now() + event_interval;
        happen();
        if (memory == 0 && Clock::now() - begin > time / 4) {
          settle();
          memory = resident_bytes();
          descriptors = open_descriptors();
        }
      }
    }
    settle();
    const long growth = resident_bytes() - memory;
    const std::ptrdiff_t more = open_descriptors() - descriptors;
    for (Passer& passer : passers_) {
      passer.port->on_connection_lost({});
      passer.port->stop_listening();
    }
    for (int turns = 0; turns < 1000; ++turns) reactor_.run_once(1ms);
    return report(time, growth, more);
  }

 private:
  static std::string traffic(const std::string& to) {
    return "while :; do ping -c 50 -i 0.01 -s 1200 -W 1 " + to + "; timeout 4 iperf3 -c " + to +
           " -t 1; timeout 4 iperf3 -c " + to + " -u -b 200M -t 1; sleep 0.1; done";
  }

  void make_pair(std::size_t at, DeviceKind kind, const std::string& net) {
    for (std::size_t side = 0; side < 2; ++side) {
      Passer& passer = passers_[at + side];
      PortOptions options;
      options.interface.addresses = {*IpPrefix::parse(net + (side == 0 ? "1/24" : "2/24"))};
      options.interface.up = true;
      if (side == 1) options.device.network_namespace = "/proc/self/fd/" + std::to_string(far_);
      passer.port =
          std::make_unique<TuntapPort>(reactor_, kind, "soak" + std::to_string(at + side), passer, options);
      passer.to = &passers_[at + 1 - side];
      passer.port->on_connection_lost([this, &passer](const std::error_code&) {
        ++passer.restarts;
        start(passer);
      });
    }
  }

  void start(Passer& passer) {
    std::error_code ec;
    passer.port->start_listening(ec);
    if (ec && ++failed_starts_ < 10)
      std::fprintf(stderr, "soak: %s: %s\n", to_string(*passer.port).c_str(), ec.message().c_str());
  }

  /// Ends what is under way: every port listens, every link is up.
  void settle() {
    for (int turns = 0; turns < 200; ++turns) reactor_.run_once(1ms);
    for (Passer& passer : passers_) {
      if (!passer.port->listening()) start(passer);
      set_up(passer, true);
    }
    for (int turns = 0; turns < 200; ++turns) reactor_.run_once(1ms);
  }

  void set_up(const Passer& passer, bool up) {
    std::error_code ec;
    if (!passer.port->listening()) return;
    const Link link = passer.port->device().link(ec);
    if (!ec) link.system().set_up(link.name(), up, ec);
  }

  /// One event of many: mostly garbage, sometimes a flap, a deletion or a restart.
  void happen() {
    Passer& passer = passers_[random_() % passers_.size()];
    std::error_code ec;
    if (!passer.port->listening()) return start(passer);
    ++events_;
    switch (random_() % 12) {
      case 0:
        set_up(passer, false);
        break;
      case 1: {
        const Link link = passer.port->device().link(ec);
        if (!ec) link.system().remove(link.name(), ec);
        break;
      }
      case 2:
        passer.port->stop_listening();
        break;
      case 3:
        passer.port->lose_connection();
        break;
      default:
        for (Passer& each : passers_) set_up(each, true);
        write_garbage(passer);
    }
  }

  void write_garbage(Passer& passer) {
    const Cork cork{reactor_};
    for (int i = 0; i < 20; ++i) {
      std::vector<std::byte> bytes(random_() % 2000);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
      if (!bytes.empty()) bytes[0] = static_cast<std::byte>(0x40 | random_() % 0x30);
      passer.port->write(bytes);
      ++passer.written;
    }
  }

  int report(std::chrono::seconds time, long growth, std::ptrdiff_t more) const {
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    std::uint64_t dropped = 0;
    std::uint64_t restarts = 0;
    bool good = growth <= most_growth && more == 0;
    for (const Passer& passer : passers_) {
      const Statistics& counted = passer.port->statistics();
      const std::uint64_t came = counted.packets_in + passer.written + counted.drops[DropReason::bad_framing];
      const std::uint64_t went = passer.delivered + counted.packets_out + counted.drops.total();
      if (came != went) {
        std::printf("soak: %s: %llu came and %llu went: %s\n", to_string(*passer.port).c_str(),
                    static_cast<unsigned long long>(came), static_cast<unsigned long long>(went),
                    to_string(counted).c_str());
        good = false;
      }
      in += counted.packets_in;
      out += counted.packets_out;
      dropped += counted.drops.total();
      restarts += passer.restarts;
    }
    good = good && in > 1000 && restarts > 0;
    std::printf(
        "soak: %lld s: %llu packets in, %llu out, %llu dropped by reason, %llu events, %llu restarts; memory "
        "%+ld KiB, descriptors %+td: %s\n",
        static_cast<long long>(time.count()), static_cast<unsigned long long>(in),
        static_cast<unsigned long long>(out), static_cast<unsigned long long>(dropped),
        static_cast<unsigned long long>(events_), static_cast<unsigned long long>(restarts), growth / 1024,
        more, good ? "good" : "A BOUND IS MISSED");
    return good ? 0 : 1;
  }

  PollReactor reactor_;
  int far_ = -1;
  std::array<Passer, 4> passers_;
  std::mt19937 random_{1};  // NOLINT(cert-msc51-cpp): the same events each time
  std::uint64_t events_ = 0;
  int failed_starts_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc == 2 ? std::atoi(argv[1]) : 0;
  if (seconds < 5) {
    std::fprintf(stderr, "usage: tunport_soak SECONDS (at least 5)\n");
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  tunport::set_log_sink([](tunport::LogLevel, std::string_view, std::string_view) {});
  return Soak{}.run(std::chrono::seconds{seconds});
}
