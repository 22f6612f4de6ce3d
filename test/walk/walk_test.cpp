// One scenario, start, traffic and stop of a TUN/TAP port and a UDP port, with each single failure: of each
// call of the system with each documented error, and of each allocation. After each failure nothing is leaked
// or lost from the counts, nothing spins, and every life of a port ends once.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/testing/fault_plan.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/counted_new.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using shapes::Buffer;

constexpr int most_turns = 200;  // of the loop, in each step; a scenario needs fewer than ten

Ipv4Address ip(std::uint32_t number) { return Ipv4Address{number}; }

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all{"/proc/self/fd"};
  return std::distance(begin(all), end(all));
}

/// The packets that a program had to do with, by its own count.
struct Account {
  std::uint64_t delivered = 0;
  std::uint64_t written = 0;  // writes that returned
  int started = 0;
  int stopped = 0;
  int lost = 0;
  int handlers_due = 0;
  int handlers_called = 0;
};

/// Answers every frame.
class Answers : public FrameProtocol {
 public:
  explicit Answers(Account& account) : account_{account} {}
  void start_protocol() override { ++account_.started; }
  void stop_protocol() override { ++account_.stopped; }
  void frame_received(const Packet& packet) override {
    ++account_.delivered;
    transport().write(packet.bytes());
    ++account_.written;
  }
  std::string name() const override { return "Answers"; }

 private:
  Account& account_;
};

/// Answers every datagram.
class UdpAnswers : public DatagramProtocol {
 public:
  explicit UdpAnswers(Account& account) : account_{account} {}
  void start_protocol() override { ++account_.started; }
  void stop_protocol() override { ++account_.stopped; }
  void datagram_received(const Datagram& datagram) override {
    ++account_.delivered;
    transport().write_to(datagram.from, datagram.data);
    ++account_.written;
  }

 private:
  Account& account_;
};

/// The device: made by the port, persistent, or adopted (a second descriptor of a persistent device).
enum class How : std::uint8_t { made, persistent, adopted };

/// The scenario.
class Scenario {
  MemorySystem kernel_;

 public:
  FaultPlan plan{kernel_};
  std::function<void()> before = [] {};  ///< called before the first step
  bool single = true;                    ///< one failure at most
  explicit Scenario(How how) : how_{how} {
    set_log_sink([](LogLevel, std::string_view, std::string_view) {});
    if (how != How::made) tunnel_.emplace(kernel_.add_persistent(DeviceKind::tap, "tap0"));
    stranger_.reset(kernel_.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_storage storage{};
    const socklen_t length = Endpoint{ip(0x7f000001), 9}.to_sockaddr(storage);
    EXPECT_EQ(kernel_.bind(stranger_.get(), reinterpret_cast<sockaddr*>(&storage), length), 0);
  }

  void run() {
    before();
    step([&] { make_ports(); });
    if (!tap_ || !udp_) step([&] { make_ports(); });
    if (!tap_ || !udp_) return;
    for (int tries = 0; tries < 2; ++tries) {
      step([&] { tap_->on_connection_lost([this](const std::error_code&) { ++tap_account_.lost; }); });
      step([&] { udp_->on_connection_lost([this](const std::error_code&) { ++udp_account_.lost; }); });
    }
    start(*tap_);
    start(*udp_);
    traffic();
    step([&] { tap_->lose_connection(); });
    step([&] { udp_->stop_listening([this] { ++stop_calls_; }); });
    turn();
    wait(3s);
    // Without memory an end may have been impossible: then the port goes on, and the next end is carried out.
    step([&] { tap_->stop_listening(); });
    step([&] { udp_->stop_listening(); });
    turn();
    counted_new::fail_in = 0;
    check();
    tap_.reset();
    udp_.reset();
    turn();
    EXPECT_EQ(tap_account_.started, tap_account_.stopped);
    EXPECT_EQ(udp_account_.started, udp_account_.stopped);
  }

 private:
  /// A step of the program, which outlives a lack of memory.
  template <class Call>
  void step(Call call) {
    try {
      call();
    } catch (const std::bad_alloc&) {
    } catch (const Error&) {
    }
  }

  /// A descriptor as from a manager that opened the device.
  Device adopt() {
    ifreq request{};
    std::string{"tap0"}.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    UniqueFd fd{kernel_.open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
    if (kernel_.ioctl(fd.get(), TUNSETIFF, &request) != 0) throw std::bad_alloc{};
    return Device::adopt(std::move(fd), {.offload = OffloadFeatures::all()}, plan);
  }

  void make_ports() {
    PortOptions options{.system = plan};
    options.interface.addresses = {{ip(0x0a000001), 24}, {Ipv6Address{{0xfd, 0, 0, 0, 0, 0, 0, 1}}, 64}};
    options.interface.mtu = 1400;
    options.interface.mac = MacAddress{{2, 0, 0, 0, 0, 7}};
    options.interface.tx_queue_length = 100;
    options.interface.up = true;
    options.interface.routes = {{.destination = {ip(0x0a010000), 16}, .gateway = ip(0x0a000002)}};
    if (!tap_ && how_ == How::adopted) {
      tap_ = std::make_unique<TuntapPort>(clock_, adopt(), answers_, options);
    } else if (!tap_) {
      tap_ = std::make_unique<TuntapPort>(clock_, DeviceKind::tap, "tap0", answers_, options);
    }
    PortOptions of_udp{.system = plan};
    if (how_ != How::made) of_udp.socket.peer = Endpoint{ip(0x7f000001), 9};
    of_udp.socket = {.peer = of_udp.socket.peer,
                     .traffic_class = 8,
                     .receive_traffic_class = true,
                     .hop_limit = 3,
                     .path_mtu = PathMtu::dont_fragment,
                     .multicast_hop_limit = 2};
    if (udp_) return;
    udp_ = std::make_unique<UdpPort>(clock_, Endpoint{ip(0), 7}, udp_answers_, of_udp);
  }

  /// Starts a port; a second try meets no failure.
  void start(BasePort& port) {
    const auto started = [&] {
      step([&] { port.start_listening(); });
      return port.listening();
    };
    if (started()) return;
    EXPECT_EQ(port.fileno(), -1) << "left open by a start that failed";
    EXPECT_FALSE(how_ != How::made && &port == tap_.get() && tunnel_->attached());
    turn();
    EXPECT_TRUE(started() || !single) << "after an error, the second try";
  }

  /// Runs the loop until nothing is ready.
  void turn() {
    for (int turns = 0;; ++turns) {
      ASSERT_LT(turns, most_turns) << "the loop spins";
      bool again = true;  // also after an exception
      step([&] { again = clock_.run_once(Duration::zero()) != 0; });
      if (!again) return;
    }
  }

  void wait(Duration time) {
    step([&] { clock_.advance(time); });
    turn();
  }

  void write(std::size_t size) {
    step([&] {
      tap_->write(Buffer(size));
      ++tap_account_.written;
    });
  }
  void write_to(std::uint16_t port) {
    step([&] {
      udp_->write_to({ip(0x7f000001), port}, Buffer(100));
      ++udp_account_.written;
    });
  }

  void traffic() {
    step([&] {
      if (!tunnel_ && tap_->listening()) tunnel_.emplace(kernel_.tunnel("tap0"));
    });
    step([&] { inject_frames(); });
    turn();
    step([&] {
      const Cork cork{clock_};
      for (int i = 0; i < 3; ++i) write(200);
      for (int i = 0; i < 3; ++i) write_to(9);
      write_to(10);  // nobody is there: an error is told later
    });
    turn();
    if (tunnel_) tunnel_->set_writable(false);
    write(100);
    step([&] {
      ++tap_account_.handlers_due;
      bool taken = false;
      try {
        tap_->send(Buffer(120), [this](const std::error_code&) { ++tap_account_.handlers_called; });
        taken = true;
      } catch (const std::bad_alloc&) {
      }
      if (!taken) --tap_account_.handlers_due;
      tap_account_.written += taken ? 1 : 0;
    });
    turn();
    wait(150ms);
    if (tunnel_) tunnel_->set_writable(true);
    wait(150ms);
    if (tunnel_) tunnel_->set_up(false);
    write(100);
    turn();
    if (tunnel_) tunnel_->set_up(true);
    // Short datagrams are read one by one at first, then together.
    for (const int datagrams : {5, 3}) {
      for (int i = 0; i < datagrams; ++i) send_from_stranger();
      turn();
    }
    write_to(9);
    turn();
    step([&] { static_cast<void>(udp_->receive_buffer()); });
    step([&] { use_device(); });
    kernel_.set_clone_error(0);
  }

  /// A device without a port, and the calls that no port makes.
  void use_device() {
    const System system = plan;
    std::error_code ec;
    kernel_.set_clone_error(EACCES);
    static_cast<void>(Device::open(DeviceKind::tun, "tun9", {}, system, ec));
    kernel_.set_clone_error(0);
    static_cast<void>(Device::open(DeviceKind::tun, "tun9", {.network_namespace = "x"}, system, ec));
    EXPECT_TRUE(ec);
    Device device = Device::open(DeviceKind::tun, "tun9", {}, system);
    Buffer buffer(100);
    device.read(buffer);
    const std::vector<Bytes> parts(2, Bytes{buffer});
    device.write_sequence(parts);
    system.links.move_to_namespace("tun9", stranger_.get(), ec);
    system.links.list(ec);
    system.links.remove("tun9", ec);
  }

  void inject_frames() {
    if (!tunnel_) return;
    for (int i = 0; i < 3; ++i) tunnel_->inject(Buffer(60));
    const shapes::Shape shape{.protocol = ip_protocol::udp, .kind = DeviceKind::tap};
    tunnel_->inject(shapes::super_packet(shape, Buffer(400)), shapes::offload_of(shape, 100));
  }

  void send_from_stranger() {
    step([&] {
      Buffer payload(50);
      sockaddr_storage to{};
      iovec part{payload.data(), payload.size()};
      msghdr message{};
      message.msg_name = &to;
      message.msg_namelen = Endpoint{ip(0x7f000001), 7}.to_sockaddr(to);
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      kernel_.sendmsg(stranger_.get(), &message, 0);
    });
  }

  static void check_account(const BasePort& port, const Account& account, std::uint64_t not_read) {
    const Statistics& counted = port.statistics();
    EXPECT_FALSE(port.listening());
    EXPECT_EQ(port.fileno(), -1);
    EXPECT_EQ(account.started, account.stopped);
    EXPECT_EQ(account.lost, account.started) << "one end for each start";
    EXPECT_EQ(account.handlers_called, account.handlers_due);
    EXPECT_EQ(counted.packets_in + account.written + not_read,
              account.delivered + counted.packets_out + counted.drops.total())
        << counted;
  }

  void check() {
    check_account(*tap_, tap_account_, tap_->statistics().drops[DropReason::bad_framing]);
    check_account(*udp_, udp_account_, udp_->statistics().drops[DropReason::receive_overflow]);
    const std::size_t arrived = tunnel_ ? tunnel_->collect_datagrams().size() : 0;
    EXPECT_TRUE(!tunnel_ || arrived == tap_->statistics().packets_out) << arrived;
    if (how_ != How::made) {
      EXPECT_FALSE(tunnel_->attached());
      EXPECT_FALSE(tunnel_->removed());
    } else if (tunnel_) {
      EXPECT_TRUE(tunnel_->removed());
    }
  }

  How how_;
  ManualReactor clock_;
  Account tap_account_;
  Account udp_account_;
  Answers answers_{tap_account_};
  UdpAnswers udp_answers_{udp_account_};
  UniqueFd stranger_;
  std::optional<MemorySystem::Tunnel> tunnel_;
  int stop_calls_ = 0;
  std::unique_ptr<TuntapPort> tap_;
  std::unique_ptr<UdpPort> udp_;
};

/// Runs a scenario, and looks for what is left of it.
template <class Prepare>
void run_one(How how, Prepare prepare) {
  const std::int64_t live = counted_new::live;
  const std::ptrdiff_t open = open_descriptors();
  {
    Scenario scenario{how};
    prepare(scenario);
    scenario.run();
    counted_new::fail_in = 0;
  }
  set_log_sink({});
  EXPECT_EQ(open_descriptors(), open) << "descriptors";
  EXPECT_TRUE(testing::Test::HasFailure() || counted_new::live == live) << "memory";
}

class Walk : public testing::TestWithParam<How> {
 protected:
  void SetUp() override {
    static_cast<void>(FaultPlan::errors_of(SystemCall::open));
    Scenario{GetParam()}.run();  // what is made once and kept
    run_one(GetParam(), [](Scenario&) {});
    ASSERT_FALSE(HasFailure()) << "without a failure";
  }
};

TEST_P(Walk, EachCallWithEachError) {
  std::vector<std::uint64_t> calls(system_calls);
  run_one(GetParam(), [](Scenario&) {});
  {
    Scenario counted{GetParam()};
    counted.run();
    for (std::size_t i = 0; i < system_calls; ++i) calls[i] = counted.plan.calls(static_cast<SystemCall>(i));
  }
  std::size_t runs = 0;
  for (std::size_t i = 0; i < system_calls; ++i) {
    const auto call = static_cast<SystemCall>(i);
    EXPECT_TRUE(calls[i] != 0 || GetParam() != How::adopted) << to_string(call) << " is not in the scenario";
    for (std::uint64_t nth = 1; nth <= calls[i]; ++nth) {
      for (const std::error_code& error : FaultPlan::errors_of(call)) {
        SCOPED_TRACE(std::string{to_string(call)} + " " + std::to_string(nth) + ": " + error.message());
        run_one(GetParam(), [&](Scenario& scenario) { scenario.plan.fail(call, nth, error); });
        ++runs;
        if (HasFailure()) return;
      }
    }
  }
  RecordProperty("runs", static_cast<int>(runs));
  EXPECT_GT(runs, 700U);
}

/// True for an answer that no kernel gives for ever: each tells of a packet or an error that is gone then, or
/// that there is none, while the descriptor is not ready.
bool is_told_once(SystemCall call, int error) {
  const bool waits = error == EAGAIN || error == EINTR;
  switch (call) {
    case SystemCall::read:
    case SystemCall::readv:
      return waits || error == EINVAL;
    case SystemCall::write:
    case SystemCall::writev:
    case SystemCall::sendmsg:
    case SystemCall::sendmmsg:
      return waits;
    case SystemCall::recvmsg:
    case SystemCall::recvmmsg:
      return waits || error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
             error == EMSGSIZE;
    default:
      return false;
  }
}

TEST_P(Walk, EachCallFailsFromThenOn) {
  for (std::size_t i = 0; i < system_calls; ++i) {
    const auto call = static_cast<SystemCall>(i);
    for (const std::uint64_t nth : {1U, 2U, 3U, 5U, 8U}) {
      for (const std::error_code& error : FaultPlan::errors_of(call)) {
        if (is_told_once(call, error.value())) continue;
        SCOPED_TRACE(std::string{to_string(call)} + " from " + std::to_string(nth) + ": " + error.message());
        run_one(GetParam(), [&](Scenario& scenario) {
          scenario.single = false;
          scenario.plan.fail(call, nth, error, std::uint64_t{1} << 32);
        });
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(Walk, ManyFailuresAtRandom) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_one(GetParam(), [&](Scenario& scenario) {
      scenario.single = false;
      scenario.before = [&scenario, seed] { scenario.plan.fail_randomly(seed, 40); };
    });
    if (HasFailure()) return;
  }
}

TEST_P(Walk, EachAllocation) {
  std::uint64_t allocations = 0;
  run_one(GetParam(),
          [&](Scenario& scenario) { scenario.before = [&] { allocations = counted_new::allocations; }; });
  allocations = counted_new::allocations - allocations;
  for (std::uint64_t nth = 1; nth <= allocations; ++nth) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    run_one(GetParam(), [&](Scenario& scenario) { scenario.before = [nth] { counted_new::fail_in = nth; }; });
    if (HasFailure()) return;
  }
  EXPECT_GT(allocations, 100U);
}

INSTANTIATE_TEST_SUITE_P(DeviceOfThePort, Walk, testing::Values(How::made));
INSTANTIATE_TEST_SUITE_P(PersistentDevice, Walk, testing::Values(How::persistent));
INSTANTIATE_TEST_SUITE_P(AdoptedDevice, Walk, testing::Values(How::adopted));

}  // namespace
}  // namespace tunport
