// A port on each queue of an interface, each on a reactor and a thread of its own.
#include "tunport/device/queues.hpp"

#include <array>
#include <map>
#include <set>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/udp.hpp"

#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

constexpr std::uint16_t service = 4242;

/// Answers datagrams to the service, and notes how many came from each port of the kernel's side.
class Answerer : public IpPacketProtocol {
 public:
  void frame_received(const Packet& packet) override {
    const Bytes bytes = packet.bytes();
    if (bytes.size() < 28 || load_be16(bytes, 22) != service) return;
    const std::uint16_t from = load_be16(bytes, 20);
    ++flows[from];
    transport().write(packets::udp({Ipv4Address{"10.77.0.2"}, service}, {Ipv4Address{"10.77.0.1"}, from},
                                   Bytes{bytes.subspan(28)}));
  }
  std::map<std::uint16_t, int> flows;
};

/// A port on a queue, with its thread. Everything but `post` happens on the thread.
class Lane {
 public:
  Lane(Device device, PortOptions options)
      : device_{std::move(device)}, options_{std::move(options)}, thread_{[this] { work(); }} {}
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  ~Lane() { end(); }
  void end() {
    if (!thread_.joinable()) return;
    wait_until([this] { return started.load(); }, seconds{30});
    reactor_.post([this] { port_->stop_listening([this] { reactor_.stop(); }); });
    thread_.join();
  }
  /// After `end`.
  const std::map<std::uint16_t, int>& flows() const { return answerer_.flows; }
  const Statistics& statistics() const { return statistics_; }
  std::atomic<bool> started = false;

 private:
  void work() {
    port_ = std::make_unique<TuntapPort>(reactor_, std::move(device_), answerer_, std::move(options_));
    port_->start_listening();
    started = true;
    reactor_.run();
    statistics_ = port_->statistics();
    port_.reset();
  }

  PollReactor reactor_;
  Answerer answerer_;
  Device device_;
  PortOptions options_;
  std::unique_ptr<TuntapPort> port_;
  Statistics statistics_;
  std::thread thread_;
};

class QueuesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped()) disable_ipv6();
  }
};

TEST_F(QueuesTest, PortsOnThreadsEachServeFlowsOfTheirOwn) {
  constexpr std::size_t lanes_count = 3;
  constexpr int rounds = 20;
  auto devices = open_queues(DeviceKind::tun, "tq0", lanes_count, {.offload = OffloadFeatures::all()});
  std::vector<std::unique_ptr<Lane>> lanes;
  for (Device& device : devices) {
    PortOptions options;
    if (lanes.empty()) options.interface = {.addresses = {"10.77.0.1/24"}, .up = true};
    lanes.push_back(std::make_unique<Lane>(std::move(device), std::move(options)));
  }
  ASSERT_TRUE(wait_until(
      [&] { return std::ranges::all_of(lanes, [](const auto& lane) { return lane->started.load(); }); },
      seconds{20}));

  const sockaddr_in host{
      .sin_family = AF_INET, .sin_port = htons(service), .sin_addr = {htonl(0x0a4d0002)}, .sin_zero = {}};
  std::vector<UniqueFd> sockets;
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 48; ++i) {
    sockets.emplace_back(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(sockets.back().get(), reinterpret_cast<const sockaddr*>(&host), sizeof host), 0);
    sockaddr_in own{};
    socklen_t length = sizeof own;
    ASSERT_EQ(::getsockname(sockets.back().get(), reinterpret_cast<sockaddr*>(&own), &length), 0);
    ports.insert(ntohs(own.sin_port));
  }
  for (std::uint32_t round = 0; round < rounds; ++round) {
    for (const UniqueFd& socket : sockets) ASSERT_EQ(::send(socket.get(), &round, sizeof round, 0), 4);
    for (const UniqueFd& socket : sockets) {
      ASSERT_TRUE(wait_readable(socket.get(), seconds{20})) << "no answer in round " << round;
      std::uint32_t answered = ~0U;
      ASSERT_EQ(::recv(socket.get(), &answered, sizeof answered, 0), 4);
      EXPECT_EQ(answered, round);
    }
  }

  // The port with the settings ends last.
  for (std::size_t i = lanes.size(); i-- > 0;) lanes[i]->end();
  std::set<std::uint16_t> served;
  std::size_t busy = 0;
  std::uint64_t packets = 0;
  for (const auto& lane : lanes) {
    for (const auto& [port, datagrams] : lane->flows()) {
      EXPECT_TRUE(served.insert(port).second) << "port " << port << " came to two queues";
      EXPECT_EQ(datagrams, rounds);
    }
    if (!lane->flows().empty()) ++busy;
    packets += lane->statistics().packets_in;
  }
  EXPECT_EQ(served, ports);
  EXPECT_GE(busy, 2U);
  EXPECT_GE(packets, ports.size() * rounds);
  EXPECT_FALSE(links.find("tq0", ec)) << "the last queue is closed";
}

TEST_F(QueuesTest, ADeletionEndsEveryPort) {
  auto devices = open_queues(DeviceKind::tun, "tq0", 2);
  std::vector<std::thread> threads;
  std::array<std::error_code, 2> reasons;
  std::atomic<int> started = 0;
  for (std::size_t i = 0; i < devices.size(); ++i)
    threads.emplace_back([&, i] {
      PollReactor reactor;
      Answerer answerer;
      TuntapPort port{reactor, std::move(devices[i]), answerer};
      port.on_connection_lost([&](const std::error_code& reason) { reasons[i] = reason; });
      port.start_listening();
      ++started;
      reactor.run();  // until the device is deleted
    });
  EXPECT_TRUE(wait_until([&] { return started == 2; }, seconds{20}));
  EXPECT_EQ(run({"ip", "link", "delete", "tq0"}).status, 0);
  for (std::thread& thread : threads) thread.join();
  for (const std::error_code& reason : reasons) EXPECT_EQ(reason, Errc::device_gone);
}

}  // namespace
}  // namespace tunport::sandbox
