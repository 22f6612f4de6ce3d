// The sleep after a burst (`PortOptions::moderation`).
#include <chrono>
#include <stdexcept>

#include <sys/resource.h>

#include "support/forwarding_io.hpp"
#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using namespace std::chrono_literals;
using testing::SizeIs;

constexpr auto moderation = 5ms;

/// Notes the time of the last write.
class TimingIo : public test_support::ForwardingIo {
 public:
  using ForwardingIo::ForwardingIo;
  ssize_t writev(int fd, std::span<const iovec> parts) override {
    written = Clock::now();
    return ForwardingIo::writev(fd, parts);
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    written = Clock::now();
    return ForwardingIo::write(fd, buffer, size);
  }
  TimePoint written;
};

class Moderation : public SuperPackets {
 protected:
  ~Moderation() override { port.reset(); }
  void SetUp() override {
    set_log_sink([](LogLevel, std::string_view, std::string_view) {});
    start(accepter, {.moderation = moderation, .system = {io, kernel.links()}});
  }
  void send(int packets = 1) {
    for (int i = 0; i < packets; ++i) EXPECT_TRUE(interface().inject(shapes::datagram(udp4, as_bytes("x"))));
  }
  /// The number of times for which the thread has slept.
  static long sleeps() {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
  }
  TimingIo io{kernel};
};

TEST_F(Moderation, APortSleepsAfterPacketsAndHasAnsweredBefore) {
  accepter.on_frame = [&](const Packet& packet) { port->forward(packet); };
  send(3);
  const auto begin = Clock::now();
  port->do_read();
  EXPECT_GE(Clock::now() - begin, moderation);
  EXPECT_GE(Clock::now() - io.written, moderation) << "the answers went before the sleep";
  EXPECT_EQ(port->statistics().packets_in, 3U);
  EXPECT_EQ(port->statistics().packets_out, 3U);
}

TEST_F(Moderation, ALookInVainIsNotFollowedByASleep) {
  const long before = sleeps();
  port->do_read();
  EXPECT_EQ(sleeps(), before);
}

TEST_F(Moderation, APortThatIsBehindDoesNotSleep) {
  send(int{burst_packets});
  const long before = sleeps();
  port->do_read();
  EXPECT_EQ(sleeps(), before);
  EXPECT_THAT(accepter.frames, SizeIs(burst_packets));
}

TEST_F(Moderation, APausedStoppedOrDestroyedPortDoesNotSleep) {
  const auto read_with = [&](const std::function<void()>& call) {
    accepter.on_frame = [&](const Packet&) { call(); };
    send();
    const long before = sleeps();
    port->do_read();
    EXPECT_EQ(sleeps(), before);
  };
  read_with([&] { port->pause_producing(); });
  port->resume_producing();
  read_with([&] { port->stop_listening(); });
  clock.run_ready();
  port->start_listening();
  interface().set_up(true);
  read_with([&] { port.reset(); });
}

TEST_F(Moderation, AReceiveDoesNotSleep) {
  port = std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tun1",
                                      PortOptions{.moderation = moderation, .system = kernel});
  port->start_listening();
  kernel.tunnel("tun1").set_up(true);
  Buffer room(2000);
  int received = 0;
  port->receive(room, [&](const std::error_code&, const Packet&) { ++received; });
  EXPECT_TRUE(kernel.tunnel("tun1").inject(shapes::datagram(udp4, as_bytes("x"))));
  const long before = sleeps();
  port->do_read();
  clock.run_ready();
  EXPECT_EQ(received, 1);
  EXPECT_EQ(sleeps(), before);
}

TEST_F(Moderation, IsBoundedAndNotWithSpin) {
  EXPECT_THROW(start(accepter, {.moderation = -1us, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(start(accepter, {.moderation = 1001ms, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(start(accepter, {.spin = 1us, .moderation = 1us, .system = kernel}), std::invalid_argument);
}

}  // namespace
}  // namespace tunport
