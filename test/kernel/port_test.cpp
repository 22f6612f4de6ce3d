/// Ports on devices that are set down, deleted, held and flooded from elsewhere.

#include <array>
#include <csignal>
#include <optional>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include "tunport/port/tuntap_port.hpp"

#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A device that takes nothing while `clogged`.
class CloggedIo : public ForwardingIo {
 public:
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    return clogged ? -EAGAIN : ForwardingIo::write(fd, buffer, size);
  }
  bool clogged = false;
};

/// A producer that never unregisters.
class Clinging : public Producer {
 public:
  void resume_producing() override {}
  void stop_producing() override { ++stops; }
  int stops = 0;
};

class KernelPort : public LoopTest {
 protected:
  TuntapPort& make(DeviceKind kind = DeviceKind::tap) {
    port.emplace(reactor(), kind, "tp0", protocol, PortOptions{.system = {io, links}});
    port->on_connection_lost([this](const std::error_code& reason) { lost.push_back(reason); });
    return *port;
  }
  /// Starts listening, and sets the interface up.
  TuntapPort& start(DeviceKind kind = DeviceKind::tap) {
    make(kind).start_listening();
    configure("tp0");
    return *port;
  }
  /// The numbers of frames out of the interface, until 50 ms pass without a frame.
  std::vector<int> numbers_out(PacketSocket& out) {
    std::vector<int> numbers;
    while (const auto frame = out.receive(milliseconds{50})) numbers.push_back(number_of(*frame));
    return numbers;
  }
  std::uint64_t drops(DropReason reason) const { return port->statistics().drops[reason]; }
  /// The number of descriptors after a first start and stop: the first start may open descriptors of the
  /// loop.
  std::size_t descriptors_at_rest() {
    port->start_listening();
    port->stop_listening();
    EXPECT_TRUE(turn_until([&] { return !lost.empty(); }));
    lost.clear();
    protocol.stops = 0;
    return open_descriptors();
  }
  void expect_device_gone() {
    EXPECT_TRUE(turn_until([&] { return !lost.empty(); }));
    EXPECT_THAT(rest(), is_at_rest());
    EXPECT_THAT(lost, ElementsAre(Errc::device_gone));
    EXPECT_FALSE(port->listening());
    EXPECT_EQ(port->fileno(), -1);
    EXPECT_EQ(protocol.stops, 1);
  }

  CloggedIo io;
  Keeper protocol;
  std::optional<TuntapPort> port;
  std::vector<std::error_code> lost;
};

TEST_P(KernelPort, RestsWhileNothingHappens) {
  start();
  EXPECT_THAT(rest(), is_at_rest());
  set_up("tp0", false);
  EXPECT_THAT(rest(), is_at_rest()) << "the interface down";
  port->stop_reading();
  set_up("tp0");
  PacketSocket peer{"tp0"};
  EXPECT_EQ(peer.send(numbered(1)), 0);
  EXPECT_THAT(rest(), is_at_rest()) << "a packet to read, and no reader";
}

TEST_P(KernelPort, GoesOnAfterTheInterfaceWasDownAndNothingOldBurstsOut) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    std::optional<PacketSocket> peer{"tp0"};
    const auto packet = [&](std::uint8_t number) {
      if (kind == DeviceKind::tun) return make_ipv4(60, number);
      return make_frame(60, number);
    };
    const auto out = [&] {
      std::vector<int> numbers;
      while (const auto got = peer->receive(milliseconds{50})) numbers.push_back(load_u8(*got, 59));
      return numbers;
    };
    // Traffic both ways: the port answers packets, and writes unasked.
    protocol.on_frame = [&](const Packet& in) { port->write(in.bytes()); };
    for (std::uint8_t i = 1; i <= 3; ++i) EXPECT_EQ(peer->send(packet(i)), 0);
    EXPECT_TRUE(turn_until([&] { return protocol.received == 3; }));
    EXPECT_THAT(out(), ElementsAre(1, 2, 3));

    set_up("tp0", false);
    for (std::uint8_t i = 10; i < 110; ++i) {
      EXPECT_EQ(peer->send(packet(i)), ENETDOWN);
      EXPECT_EQ(port->write(packet(i)), WriteResult::make_refused(DropReason::link_down));
      loop_->turn(milliseconds{0});
    }
    EXPECT_EQ(drops(DropReason::link_down), 100U);
    EXPECT_TRUE(port->listening());

    set_up("tp0");
    peer.emplace("tp0");  // the old socket remembers the interface's time down
    EXPECT_TRUE(port->write(packet(5)));
    EXPECT_EQ(peer->send(packet(6)), 0);
    EXPECT_TRUE(turn_until([&] { return protocol.received == 4; }));
    EXPECT_THAT(out(), ElementsAre(5, 6));
    EXPECT_EQ(port->queued_bytes(), 0U);
    EXPECT_THAT(lost, IsEmpty());
    port.reset();
    protocol.received = 0;
  }
}

TEST_P(KernelPort, DropsItsQueueWhenTheInterfaceGoesDown) {
  start();
  io.clogged = true;
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(port->write(numbered(i)), WriteResult::make_queued());
  set_up("tp0", false);
  io.clogged = false;
  // The kernel withholds writability now.
  EXPECT_TRUE(turn_until([&] { return drops(DropReason::link_down) == 5; }));
  EXPECT_THAT(rest(), is_at_rest());
  set_up("tp0");
  PacketSocket peer{"tp0"};
  EXPECT_TRUE(port->write(numbered(6)));
  loop_->turn(milliseconds{0});
  EXPECT_THAT(numbers_out(peer), ElementsAre(6));
}

TEST_P(KernelPort, DrainsItsQueueInOrderWhenTheKernelTakesItAgain) {
  start();
  PacketSocket peer{"tp0"};
  io.clogged = true;
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(port->write(numbered(i)), WriteResult::make_queued());
  io.clogged = false;
  EXPECT_EQ(port->write(numbered(6)), WriteResult::make_queued()) << "nothing overtakes the queue";
  EXPECT_TRUE(turn_until([&] { return port->queued_bytes() == 0; }));
  EXPECT_EQ(port->write(numbered(7)), WriteResult::make_sent());
  EXPECT_THAT(numbers_out(peer), ElementsAre(1, 2, 3, 4, 5, 6, 7));
}

TEST_P(KernelPort, EndsOnceWhenTheDeviceIsDeletedUnderTraffic) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    protocol.on_frame = [&](const Packet& in) { port->write(in.bytes()); };
    meanwhile([&] {
      PacketSocket peer{"tp0"};
      const auto packet = kind == DeviceKind::tun ? make_ipv4(60) : numbered(1);
      for (int i = 0; i < 2000; ++i) {
        if (i == 1000) run({"ip", "link", "del", "tp0"});
        peer.send(packet);
      }
    });
    expect_device_gone();
    EXPECT_GT(protocol.received, 0);
    lost.clear();
    port.reset();
    protocol.stops = protocol.received = 0;
  }
}

TEST_P(KernelPort, EndsOnceWhenTheDeviceIsDeletedByItsOwnProtocol) {
  start();
  protocol.on_frame = [&](const Packet& in) {
    links.remove("tp0", ec);
    EXPECT_EQ(port->write(in.bytes()), WriteResult::make_queued()) << "until the end of the burst";
    reactor().flush();
    EXPECT_EQ(port->write(in.bytes()), WriteResult::make_refused(DropReason::not_listening));
    EXPECT_THAT(lost, IsEmpty()) << "not inside a caller's call";
  };
  PacketSocket{"tp0"}.send(numbered(1));
  expect_device_gone();
  EXPECT_EQ(protocol.received, 1);
  EXPECT_EQ(port->statistics().drops[DropReason::device_gone], 1U);
}

TEST_P(KernelPort, HearsOfADeletedDeviceWhilePaused) {
  start();
  port->stop_reading();
  EXPECT_EQ(PacketSocket{"tp0"}.send(numbered(1)), 0);
  loop_->turn(milliseconds{0});
  links.remove("tp0", ec);
  ASSERT_FALSE(ec);
  expect_device_gone();
  EXPECT_EQ(protocol.received, 0);
}

TEST_P(KernelPort, IsWokenWhenItsDeviceIsDeletedWhilePaused) {
  start();
  port->stop_reading();
  loop_->turn(milliseconds{0});
  std::thread deleter{[&] {
    std::this_thread::sleep_for(milliseconds{50});
    std::error_code ignored;
    links.remove("tp0", ignored);
  }};
  const auto begin = Clock::now();
  while (lost.empty() && Clock::now() - begin < seconds{5}) loop_->turn(seconds{5});
  EXPECT_LT(Clock::now() - begin, seconds{1}) << "the loop slept on";
  deleter.join();
  EXPECT_THAT(lost, ElementsAre(Errc::device_gone));
}

TEST_P(KernelPort, HearsOfADeletedDeviceWhileTheInterfaceIsDown) {
  start();
  set_up("tp0", false);
  loop_->turn(milliseconds{0});
  links.remove("tp0", ec);
  expect_device_gone();
}

TEST_P(KernelPort, HearsOfADeletedDeviceWhileItWaitsForAProducer) {
  start();
  Clinging producer;
  port->register_producer(producer, ProducerKind::push);
  port->lose_connection();
  loop_->turn(milliseconds{0});
  EXPECT_THAT(lost, IsEmpty());
  links.remove("tp0", ec);
  expect_device_gone();
  EXPECT_EQ(producer.stops, 1);
}

TEST_P(KernelPort, HearsOfADeletedDeviceWhileItFlushesItsQueue) {
  start();
  io.clogged = true;
  for (int i = 0; i < 3; ++i) port->write(numbered(i));
  port->lose_connection();
  links.remove("tp0", ec);
  expect_device_gone();
  EXPECT_EQ(drops(DropReason::device_gone), 3U);
}

TEST_P(KernelPort, StartsAgainOnceTheDeletedDeviceIsThereAgain) {
  start();
  links.remove("tp0", ec);
  expect_device_gone();
  start();
  PacketSocket peer{"tp0"};
  EXPECT_EQ(peer.send(numbered(1)), 0);
  EXPECT_TRUE(turn_until([&] { return protocol.received == 1; }));
}

TEST_P(KernelPort, LeavesToTheKernelWhatComesWhilePaused) {
  start();
  std::vector<int> numbers;
  protocol.on_frame = [&](const Packet& in) { numbers.push_back(number_of(in.bytes())); };
  port->stop_reading();
  PacketSocket peer{"tp0"};
  std::vector<int> sent;
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(peer.send(numbered(i)), 0);
    sent.push_back(i);
    loop_->turn(milliseconds{0});
  }
  EXPECT_THAT(numbers, IsEmpty());
  port->start_reading();
  EXPECT_TRUE(turn_until([&] { return numbers.size() >= sent.size(); }));
  EXPECT_EQ(numbers, sent);
}

TEST_P(KernelPort, APauseTakesEffectBetweenTwoPackets) {
  start();
  PacketSocket peer{"tp0"};
  port->stop_reading();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(peer.send(numbered(i)), 0);
  protocol.on_frame = [&](const Packet&) { port->pause_producing(); };
  for (int i = 1; i <= 10; ++i) {
    port->resume_producing();
    EXPECT_TRUE(turn_until([&] { return protocol.received == i; }));
    EXPECT_THAT(protocol.received, i);
  }
}

TEST_P(KernelPort, AFullRingIsToBeSeenAtTheLink) {
  start();
  const auto ring = links.find("tp0", ec)->tx_queue_length;
  ASSERT_GT(ring, 0U);
  port->stop_reading();
  PacketSocket peer{"tp0"};
  for (unsigned i = 0; i < ring + 100; ++i) peer.send(numbered(static_cast<int>(i)));
  EXPECT_EQ(links.find("tp0", ec)->tx_dropped, 100U);
  port->start_reading();
  EXPECT_TRUE(turn_until([&] { return protocol.received >= static_cast<int>(ring); }));
  EXPECT_EQ(port->statistics().packets_in, ring);
  EXPECT_EQ(peer.send(numbered(1)), 0);
  EXPECT_TRUE(turn_until([&] { return protocol.received > static_cast<int>(ring); })) << "the port goes on";
}

TEST_P(KernelPort, AThousandStartsAndStopsLeakNothing) {
  // Persistent, because making and deleting an interface takes the kernel some 10 ms.
  {
    Device device = Device::open(DeviceKind::tap, "tp0");
    device.set_persistent(true, ec);
    ASSERT_FALSE(ec);
  }
  make();
  const std::size_t before = descriptors_at_rest();
  for (std::size_t i = 1; i <= 1000; ++i) {
    port->start_listening();
    port->stop_listening();
    ASSERT_TRUE(turn_until([&] { return lost.size() == i; }));
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_THAT(lost, Each(std::error_code{}));
  EXPECT_EQ(protocol.stops, 1000);
}

TEST_P(KernelPort, AThousandStartsThatFailLeakNothing) {
  make();
  const std::size_t before = descriptors_at_rest();
  Device device = Device::open(DeviceKind::tap, "tp0");
  device.set_persistent(true, ec);
  ASSERT_FALSE(ec);
  for (int i = 0; i < 1000; ++i) {
    port->start_listening(ec);
    ASSERT_EQ(ec, Errc::device_held_here);
  }
  EXPECT_EQ(open_descriptors(), before + 1);

  device.close();
  protocol.on_start = [] { throw std::runtime_error{"no"}; };
  for (int i = 0; i < 1000; ++i) ASSERT_THROW(port->start_listening(), std::runtime_error);
  EXPECT_EQ(open_descriptors(), before);
  protocol.on_start = nullptr;
  port->start_listening();
  EXPECT_TRUE(port->listening());
}

TEST_P(KernelPort, StartsAndStopsWithInterfacesOfItsOwnLeaveNone) {
  make();
  const std::size_t before = descriptors_at_rest();
  for (std::size_t i = 1; i <= 20; ++i) {
    port->start_listening();
    EXPECT_TRUE(links.find("tp0", ec));
    port->stop_listening();
    ASSERT_TRUE(turn_until([&] { return lost.size() == i; }));
    EXPECT_FALSE(links.find("tp0", ec));
  }
  EXPECT_EQ(open_descriptors(), before);
}

MATCHER(says_busy_and_what_to_do, "") {
  return testing::ExplainMatchResult(
      AllOf(HasSubstr("tp0: "), HasSubstr("holds"), HasSubstr("; "), HasSubstr("fdinfo")), arg,
      result_listener);
}

TEST_P(KernelPort, TheSecondPortOnADeviceIsTold) {
  start();
  Keeper other;
  TuntapPort second{reactor(), DeviceKind::tap, "tp0", other};
  try {
    second.start_listening();
    ADD_FAILURE() << "one device, two ports";
  } catch (const CannotListenError& error) {
    EXPECT_EQ(error.code(), Errc::device_held_here);
    EXPECT_EQ(error.what(), "tp0: " + error.code().message());
  }
  EXPECT_TRUE(port->listening());
  port->stop_listening();
  EXPECT_TRUE(turn_until([&] { return !lost.empty(); }));
  second.start_listening();
  EXPECT_TRUE(second.listening());
}

TEST_P(KernelPort, SoIsTheSecondProcess) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd ready{ends[0]};
  UniqueFd said{ends[1]};
  const pid_t holder = ::fork();
  if (holder == 0) {
    std::error_code failed;
    const Device device = Device::open(DeviceKind::tap, "tp0", {}, linux_system(), failed);
    const char answer = failed ? 'n' : 'y';
    if (::write(said.get(), &answer, 1) == 1) ::sleep(20);
    ::_exit(0);
  }
  ASSERT_GT(holder, 0);
  char answer = 0;
  EXPECT_TRUE(wait_readable(ready.get()));
  EXPECT_EQ(::read(ready.get(), &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  make();
  try {
    port->start_listening();
    ADD_FAILURE() << "one device, two processes";
  } catch (const CannotListenError& error) {
    EXPECT_EQ(error.code(), Errc::device_busy);
    EXPECT_THAT(error.what(), says_busy_and_what_to_do());
  }
  ::kill(holder, SIGKILL);
  EXPECT_EQ(::waitpid(holder, nullptr, 0), holder);
  // The error is transient: the kernel lets the device go soon after.
  EXPECT_TRUE(wait_until([&] {
    port->start_listening(ec);
    return !ec;
  }));
}

TEST_P(KernelPort, AttachesToADevicePreparedForItsUserOnly) {
  if (!is_real_root()) GTEST_SKIP() << "only root can become another user; this test was not run";
  constexpr uid_t somebody = 65534;
  constexpr uid_t else_id = 65533;
  const PublicCloneDevice clone;
  {
    Device device = Device::open(DeviceKind::tap, "tp0");
    device.set_persistent(true, ec);
    device.set_owner(somebody, ec);
    ASSERT_FALSE(ec);
  }
  configure("tp0");
  const PortOptions options{.device = {.mode = OpenMode::attach, .clone_path = clone.path()}};
  TuntapPort listener{reactor(), DeviceKind::tap, "tp0", protocol, options};
  EXPECT_EQ(as_user(else_id,
                    [&] {
                      std::error_code failed;
                      listener.start_listening(failed);
                      return failed == Errc::not_permitted && !remedy(failed).empty() ? 7 : 1;
                    }),
            7);
  EXPECT_EQ(as_user(somebody,
                    [&] {
                      PollReactor own;
                      TuntapPort mine{own, DeviceKind::tap, "tp0", protocol, options};
                      std::error_code failed;
                      mine.start_listening(failed);
                      return !failed && mine.write(numbered(1)) ? 7 : 1;
                    }),
            7);
}

INSTANTIATE_TEST_SUITE_P(On, KernelPort, testing::Values("Asio", "Poll"),
                         [](const auto& of) { return std::string{of.param}; });

}  // namespace
}  // namespace tunport::sandbox
