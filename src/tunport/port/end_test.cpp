// Ends of a port, with hostile callbacks; and the time for which a spinning port delays other descriptors.
#include <chrono>
#include <stdexcept>
#include <thread>

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;

class End : public PortTest {};

TEST_F(End, CompletionsAreCalledAlsoIfThePortIsDestroyedMeanwhile) {
  start();
  int called = 0;
  port->stop_listening([&] { ++called; });
  port.reset();
  clock.run_ready();
  EXPECT_EQ(called, 1);
}

TEST_F(End, AllHearOfItIfOneThrows) {
  start();
  int called = 0;
  port->stop_listening([] { throw std::runtime_error("cannot"); });
  port->stop_listening([&] { ++called; });
  EXPECT_THROW(clock.run_ready(), std::runtime_error);
  EXPECT_EQ(called, 1);
  EXPECT_THAT(lost, testing::SizeIs(1));
}

TEST_F(End, ABlockingDeviceIsMadeNonBlocking) {
  Device device = Device::open(DeviceKind::tap, "tap0", {.blocking = true}, kernel);
  port = std::make_unique<TuntapPort>(clock, std::move(device), protocol, PortOptions{.system = kernel});
  port->start_listening();
  interface().set_up(true);
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), 1U);
  EXPECT_TRUE(port->listening());
}

TEST_F(End, OneThatSpinsGivesOthersTheirTurn) {
  constexpr int enough = 40;
  start({.spin = 5ms, .system = kernel});
  int turns_of_others = 0;
  protocol.on_frame = [&](const Packet&) {
    const auto number = static_cast<int>(protocol.frames.size());
    if (number == enough) return;
    std::this_thread::sleep_for(1ms);
    kernel.fail_next(Call::read, EAGAIN, 3);  // the port looks, and finds nothing for a while
    interface().inject(frame(number));
    clock.post([&] { ++turns_of_others; });
  };
  interface().inject(frame(0));
  for (int turns = 0; turns < 1000 && protocol.frames.size() < enough; ++turns) clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), enough);
  EXPECT_GT(port->statistics().bursts, 3U) << "40 ms in one go";
  EXPECT_GT(turns_of_others, 0);
}

TEST_F(End, ReadsThatFailForLongDoNotSpin) {
  start();
  kernel.fail_next(Call::read, ENOMEM, 1000);
  interface().inject(frame(1));
  EXPECT_LT(clock.run_ready(), 10U);
  EXPECT_LT(clock.advance(10 * queue_retry_interval), 100U);
  port->pause_producing();
  clock.advance(10 * queue_retry_interval);
  EXPECT_FALSE(port->reading()) << "the end of a rest is no end of a pause";
  port->stop_listening();
  clock.run_ready();
  EXPECT_THAT(lost, testing::SizeIs(1));
}

TEST_F(End, AnErrorIsNoMatterForAPortThatIsNotOpen) {
  make();
  port->do_error();
  start();
  port->stop_listening();
  clock.run_ready();
  port->do_error();
  EXPECT_FALSE(port->listening());
}

TEST_F(End, ALostDeviceIsNeverSilent) {
  start();
  std::string said;
  set_log_sink([&](LogLevel level, std::string_view, std::string_view message) {
    if (level == LogLevel::error) said += message;
  });
  port->on_connection_lost({});
  interface().remove();
  clock.run_ready();
  EXPECT_FALSE(port->listening());
  EXPECT_THAT(said, testing::StartsWith("tap0: "));
  said.clear();
  start();
  interface().remove();
  clock.run_ready();
  EXPECT_THAT(lost, testing::ElementsAre(Errc::device_gone));
  EXPECT_EQ(said, "") << "the handler tells";
}

TEST_F(End, AnEndCalledByTheProtocolThatIsStoppedLeavesTheNextLifeAlone) {
  struct Hostile : FrameProtocol {
    void start_protocol() override { ++starts; }
    void stop_protocol() override {
      ++stops;
      end();
    }
    void frame_received(const Packet&) override {}
    std::function<void()> end = [] {};
    int starts = 0;
    int stops = 0;
  } hostile;
  TuntapPort other{clock, DeviceKind::tap, "tap7", hostile, {.system = kernel}};
  other.start_listening();
  hostile.end = [&] { other.connection_lost({}); };
  other.stop_listening([&] { other.start_listening(); });
  clock.run_ready();
  EXPECT_TRUE(other.listening());
  EXPECT_EQ(hostile.starts, 2);
  EXPECT_EQ(hostile.stops, 1);
  other.stop_listening();
  clock.run_ready();
  EXPECT_EQ(hostile.stops, 2);
}

TEST_F(End, AnExceptionFromAStartLeavesALaterLifeAlone) {
  struct Hostile : FrameProtocol {
    void start_protocol() override {
      if (++starts == 1) end();
    }
    void stop_protocol() override { ++stops; }
    void frame_received(const Packet&) override {}
    std::function<void()> end = [] {};
    int starts = 0;
    int stops = 0;
  } hostile;
  TuntapPort other{clock, DeviceKind::tap, "tap7", hostile, {.system = kernel}};
  hostile.end = [&] { other.connection_lost({}); };
  other.on_connection_lost([&](const std::error_code&) {
    other.on_connection_lost({});
    other.start_listening();
    throw std::runtime_error("after the restart");
  });
  EXPECT_THROW(other.start_listening(), std::runtime_error);
  EXPECT_TRUE(other.listening());
  EXPECT_EQ(hostile.starts, 2);
  EXPECT_EQ(hostile.stops, 1);
  other.stop_listening();
  clock.run_ready();
  EXPECT_EQ(hostile.stops, 2);
}

}  // namespace
}  // namespace tunport
