#include "tunport/port/base_port.hpp"

#include "tunport/event/poll_reactor.hpp"

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Burst : public PortTest {};

TEST_F(Burst, DeliversEachPacketBeforeTheNextIsRead) {
  start();
  std::vector<std::size_t> waiting;
  protocol.on_frame = [&](const Packet&) { waiting.push_back(interface().waiting()); };
  for (int i = 0; i < 3; ++i) interface().inject(frame(i));
  clock.run_ready();
  EXPECT_THAT(waiting, ElementsAre(2, 1, 0));
  EXPECT_EQ(port->statistics().packets_in, 3U);
  EXPECT_EQ(port->statistics().bytes_in, 180U);
  EXPECT_EQ(port->statistics().bursts, 1U);
}

TEST_F(Burst, EndsAfter64Packets) {
  start();
  for (int i = 0; i < 70; ++i) interface().inject(frame(i));
  port->do_read();
  EXPECT_THAT(protocol.frames, SizeIs(64));
  port->do_read();
  EXPECT_THAT(protocol.frames, SizeIs(70));
}

TEST_F(Burst, EndsAfterMaxThroughputBytes) {
  start({.max_throughput = 250, .system = kernel});
  for (int i = 0; i < 10; ++i) interface().inject(frame(i, 100));
  port->do_read();
  EXPECT_THAT(protocol.frames, SizeIs(3)) << "the third reaches the limit";
}

TEST_F(Burst, GoesOnInTheNextTurnWithoutANewEvent) {
  start();
  for (int i = 0; i < 200; ++i) interface().inject(frame(i));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, SizeIs(200));
  EXPECT_EQ(port->statistics().bursts, 4U);
}

TEST_F(Burst, AnInterruptedReadEndsItAndNoMore) {
  start();
  kernel.fail_next(Call::read, EINTR, 3);
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, SizeIs(1));
}

TEST_F(Burst, ReadsThatFailForAMomentEndItAndNoMore) {
  start();
  kernel.fail_next(Call::read, ENOBUFS);
  interface().inject(frame(1));
  port->do_read();
  clock.run_ready();
  EXPECT_THAT(protocol.frames, IsEmpty()) << "the port rests, and does not spin";
  clock.advance(queue_retry_interval);
  EXPECT_THAT(protocol.frames, SizeIs(1));
  EXPECT_TRUE(port->listening());
}

TEST_F(Burst, AReadThatFailsForGoodEndsThePortAndDoesNotSpin) {
  start();
  kernel.fail_next(Call::read, EFAULT);
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(errno_code(EFAULT)));
}

TEST_F(Burst, ABorrowedPacketLivesUntilTheEndOfTheCallAlsoIfThePortDoesNot) {
  start();
  interface().inject(frame(7));
  protocol.on_frame = [&](const Packet& packet) {
    port.reset();
    EXPECT_EQ(number_of(packet.bytes()), 7);
  };
  clock.run_ready();
  EXPECT_EQ(protocol.stops, 1);
}

TEST_F(Burst, TruncatedPacketsAreMarked) {
  start({.max_packet_size = 64, .system = kernel});
  interface().inject(frame(1, 64));
  clock.run_ready();
  EXPECT_FALSE(protocol.truncated);
  interface().inject(frame(2, 65));
  clock.run_ready();
  EXPECT_TRUE(protocol.truncated);
  EXPECT_THAT(protocol.frames.back(), SizeIs(64));
}

TEST_F(Burst, DefaultHoldsTheLargestPacket) {
  start();
  interface().inject(frame(1, 65'535 + 14));
  clock.run_ready();
  EXPECT_FALSE(protocol.truncated);
}

TEST_F(Burst, DoReadInsideDoReadIsRefused) {
  start();
  set_log_sink({});
  int refused = 0;
  protocol.on_frame = [&](const Packet&) {
    try {
      port->do_read();
    } catch (const std::logic_error&) {
      ++refused;
    }
  };
  interface().inject(frame(1));
  interface().inject(frame(2));
  clock.run_ready();
  EXPECT_EQ(refused, 2);
  EXPECT_THAT(protocol.frames, SizeIs(2));
}

TEST_F(Burst, StoppingFromInsideACallbackTakesEffectBeforeTheNextPacket) {
  for (const bool orderly : {true, false}) {
    protocol.frames.clear();
    lost.clear();
    start();
    protocol.on_frame = [&](const Packet&) {
      if (orderly)
        port->lose_connection();
      else
        port->stop_listening();
      EXPECT_THAT(lost, IsEmpty()) << "never inside the caller's stack";
    };
    interface().inject(frame(1));
    interface().inject(frame(2));
    clock.run_ready();
    EXPECT_THAT(protocol.frames, SizeIs(1));
    EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  }
}

TEST_F(Burst, DestroyingFromAnyCallback) {
  const auto destroy = [&] { port.reset(); };
  start();
  protocol.on_frame = [&](const Packet&) {
    destroy();
    throw std::runtime_error("and throwing on top");
  };
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_FALSE(port);

  protocol.on_frame = {};
  start();
  protocol.on_stop = destroy;
  port->stop_listening();
  clock.run_ready();
  EXPECT_FALSE(port);

  EXPECT_THROW(protocol.transport(), std::logic_error) << "the port is gone";
  protocol.on_stop = {};
  start();
  port->on_connection_lost([&](const std::error_code&) { destroy(); });
  port->stop_listening([&] { destroy(); });
  clock.run_ready();
  EXPECT_FALSE(port);

  start({.queue_limit = 200'000, .queue_high_mark = 65'600, .queue_low_mark = 0, .system = kernel});
  producer.on_pause = destroy;
  port->register_producer(producer, ProducerKind::push);
  interface().set_writable(false);
  const Buffer large = frame(1, 60'000);
  port->write(large);
  port->write(large);
  EXPECT_FALSE(port) << "paused above the mark";

  start();
  producer = {};
  producer.on_resume = destroy;
  port->register_producer(producer, ProducerKind::pull);
  EXPECT_FALSE(port);
}

TEST_F(Burst, ExceptionsOfAProtocolAreCountedAndLoggedWithinReason) {
  start();
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view who, std::string_view what) {
    lines.push_back(std::string{who} + ": " + std::string{what});
  });
  protocol.on_frame = [](const Packet& packet) {
    if (number_of(packet.bytes()) == 0) throw 42;
    throw std::runtime_error("cannot");
  };
  for (int i = 0; i < 50; ++i) interface().inject(frame(i));
  clock.run_ready();
  EXPECT_EQ(port->statistics().exceptions, 50U);
  EXPECT_THAT(protocol.frames, SizeIs(50)) << "the port lives on";
  ASSERT_THAT(lines, SizeIs(5));
  EXPECT_EQ(lines[0], "Recorder (TAP): exception from the protocol: not a std::exception");
  EXPECT_EQ(lines[1], "Recorder (TAP): exception from the protocol: cannot");
}

class Writing : public PortTest {};

TEST_F(Writing, WhatCannotBeADatagramIsRefusedAtOnce) {
  EXPECT_EQ(make().write(frame(1)), WriteResult::make_refused(DropReason::not_listening));
  start({.max_packet_size = 100, .system = kernel});
  EXPECT_EQ(port->write({}), WriteResult::make_refused(DropReason::empty));
  EXPECT_EQ(port->write(frame(1, 101)), WriteResult::make_refused(DropReason::too_long));
  EXPECT_EQ(port->write(Buffer(13)), WriteResult::make_refused(DropReason::too_short));
  EXPECT_EQ(drops(DropReason::empty), 1U);
  EXPECT_EQ(drops(DropReason::too_long), 1U);
  EXPECT_EQ(drops(DropReason::too_short), 1U);

  TuntapPort tun{clock, DeviceKind::tun, "tun0", protocol, {.system = kernel}};
  tun.start_listening();
  kernel.tunnel("tun0").set_up(true);
  EXPECT_EQ(tun.write(Buffer(20, std::byte{0x55})), WriteResult::make_refused(DropReason::wrong_version));
  EXPECT_EQ(tun.write(Buffer(20, std::byte{0x45})), WriteResult::make_sent());
  EXPECT_EQ(tun.write(Buffer(40, std::byte{0x60})), WriteResult::make_sent());
  EXPECT_EQ(tun.statistics().drops[DropReason::wrong_version], 1U);
}

TEST_F(Writing, TransientErrorsNeverThrow) {
  start();
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_sent());
  kernel.fail_next(Call::write, ENOBUFS);
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_refused(DropReason::no_buffers));
  kernel.fail_next(Call::write, EINVAL);
  EXPECT_EQ(port->write(frame(3)), WriteResult::make_refused(DropReason::kernel_refused));
  kernel.fail_next(Call::write, EINTR, 2);
  EXPECT_EQ(port->write(frame(4)), WriteResult::make_queued());
  clock.run_ready();
  EXPECT_THAT(numbers_written(), ElementsAre(1, 4));
  EXPECT_TRUE(port->listening());
}

TEST_F(Writing, WhatIsDeliveredIsForwardedWithinTheCall) {
  TuntapPort out{clock, DeviceKind::tap, "tap1", protocol, {.system = kernel}};
  out.start_listening();
  kernel.tunnel("tap1").set_up(true);
  start();
  protocol.on_frame = [&](const Packet& packet) { EXPECT_TRUE(out.forward(packet)); };
  interface().inject(frame(1));
  interface().inject(frame(2));
  clock.run_ready();
  EXPECT_THAT(kernel.tunnel("tap1").collect(), ElementsAre(frame(1), frame(2)));
}

TEST_F(Writing, WhatWasCutOffIsNotForwarded) {
  start({.max_packet_size = 64, .system = kernel});
  protocol.on_frame = [&](const Packet& packet) { port->forward(packet); };
  interface().inject(frame(1, 65));
  interface().inject(frame(2, 64));
  clock.run_ready();
  EXPECT_THAT(numbers_written(), ElementsAre(2));
  EXPECT_EQ(drops(DropReason::truncated), 1U);
}

TEST_F(Writing, NeverOvertakesTheQueue) {
  start();
  kernel.fail_next(Call::write, EAGAIN);
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_queued());
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_queued()) << "the kernel would take 2, but 1 waits";
  EXPECT_THAT(numbers_written(), IsEmpty());
  clock.run_ready();
  EXPECT_EQ(port->write(frame(3)), WriteResult::make_sent());
  EXPECT_THAT(numbers_written(), ElementsAre(1, 2, 3));
  EXPECT_EQ(port->queued_bytes(), 0U);
}

TEST_F(Writing, QueuedBytesAreCopied) {
  start();
  kernel.fail_next(Call::write, EAGAIN);
  Buffer mine = frame(1);
  port->write(mine);
  std::ranges::fill(mine, std::byte{0xff});
  clock.run_ready();
  EXPECT_THAT(numbers_written(), ElementsAre(1));
}

TEST_F(Writing, TheQueueIsBoundedInBytes) {
  start({.max_packet_size = 1000,
         .queue_limit = 4000,
         .queue_high_mark = 3000,
         .queue_low_mark = 1000,
         .system = kernel});
  interface().set_writable(false);
  int queued = 0;
  while (port->write(frame(queued, 968)) == WriteResult::make_queued()) ASSERT_LT(++queued, 100);
  EXPECT_EQ(queued, 4);
  EXPECT_EQ(drops(DropReason::queue_full), 1U);
}

TEST_F(Writing, APushProducerIsPausedAboveTheHighMarkAndResumedAtTheLow) {
  start({.max_packet_size = 1000,
         .queue_limit = 8000,
         .queue_high_mark = 3000,
         .queue_low_mark = 1000,
         .system = kernel});
  port->register_producer(producer, ProducerKind::push);
  interface().set_writable(false);
  for (int i = 0; i < 3; ++i) port->write(frame(i, 968));
  EXPECT_EQ(producer.said, "") << "3000 bytes: at the mark";
  port->write(frame(3, 968));
  EXPECT_EQ(producer.said, "p");
  port->write(frame(4, 984));
  EXPECT_EQ(producer.said, "p") << "once";
  interface().set_writable(true);
  clock.run_ready();
  EXPECT_EQ(producer.said, "pr");
  EXPECT_THAT(numbers_written(), ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(Writing, DefaultMarksAdmitASuperPacketBeforePausing) {
  start();
  port->register_producer(producer, ProducerKind::push);
  interface().set_writable(false);
  port->write(frame(1, 65'549));
  EXPECT_EQ(producer.said, "");
}

class DeviceGone : public PortTest {
 protected:
  void expect_one_end() {
    clock.run_ready();
    EXPECT_THAT(lost, ElementsAre(std::error_code{Errc::device_gone}));
    EXPECT_EQ(port->fileno(), -1);
    EXPECT_EQ(clock.advance(1min), 0U) << "nothing spins, nothing is left to do";
    EXPECT_EQ(protocol.stops, 1);
    EXPECT_EQ(lost.size(), 1U);
  }
};

TEST_F(DeviceGone, WhileReading) {
  start();
  interface().remove();
  expect_one_end();
}

TEST_F(DeviceGone, WhilePaused) {
  start().pause_producing();
  interface().remove();
  expect_one_end();
}

TEST_F(DeviceGone, WhileAQueueWaits) {
  start().pause_producing();
  interface().set_writable(false);
  port->write(frame(1));
  interface().remove();
  expect_one_end();
  EXPECT_EQ(drops(DropReason::device_gone), 1U);
}

TEST_F(DeviceGone, WhileLosing) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port->lose_connection();
  interface().remove();
  expect_one_end();
  EXPECT_EQ(producer.said, "s");
}

TEST_F(DeviceGone, FoundByAWrite) {
  start();
  interface().remove();
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_refused(DropReason::device_gone));
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_refused(DropReason::not_listening));
  expect_one_end();
}

TEST_F(DeviceGone, FoundByAReadInABurst) {
  start();
  protocol.on_frame = [&](const Packet&) { interface().remove(); };
  interface().inject(frame(1));
  interface().inject(frame(2));
  expect_one_end();
  EXPECT_THAT(protocol.frames, SizeIs(1));
}

TEST_F(DeviceGone, ThePortCanBeStartedAgainOnANewOne) {
  start();
  port->on_connection_lost([&](const std::error_code& reason) {
    if (reason) port->start_listening();
  });
  interface().remove();
  clock.run_ready();
  EXPECT_TRUE(port->listening());
  EXPECT_EQ(protocol.starts, 2);
  interface().set_up(true);
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_sent());
}

TEST_F(DeviceGone, DestroyingAListeningPortStopsItsProtocolAndProducer) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port.reset();
  EXPECT_EQ(protocol.stops, 1);
  EXPECT_EQ(producer.said, "s");
  EXPECT_EQ(clock.advance(1min), 0U);
  EXPECT_THAT(lost, IsEmpty());
}

/// A reactor without room for another descriptor.
class FullReactor : public PollReactor {
  void add(Watched&) override { throw Error{errno_code(ENOSPC), "reactor"}; }
};

TEST(Start, WhatTheReactorCannotWatchIsAnErrorOfTheSystem) {
  FullReactor reactor;
  HookedPort port{reactor};
  std::error_code ec;
  port.start_listening(ec);
  EXPECT_EQ(ec, std::errc::no_space_on_device);
  EXPECT_EQ(port.fileno(), -1);
  EXPECT_FALSE(port.listening());
  EXPECT_EQ(port.said, "");
  EXPECT_THROW(port.start_listening(), CannotListenError);
}

TEST_F(PortTest, AStopAskedForByAStartThatFailsIsCompleted) {
  make();
  int completed = 0;
  producer.on_stop = [] { throw std::runtime_error("cannot stop"); };
  protocol.on_start = [&] {
    port->register_producer(producer, ProducerKind::push);
    port->stop_listening([&] { ++completed; });
    throw std::runtime_error("cannot start");
  };
  EXPECT_THROW(port->start_listening(), std::runtime_error);
  EXPECT_EQ(port->fileno(), -1);
  EXPECT_EQ(completed, 0) << "not inside the call";
  clock.advance(1s);
  EXPECT_EQ(completed, 1);
  EXPECT_THAT(lost, IsEmpty());
  EXPECT_EQ(producer.said, "s");
}

TEST_F(PortTest, AProtocolThatThrowsWhenItStopsHasNoTransportAnyMore) {
  protocol.on_stop = [] { throw std::runtime_error("cannot stop"); };
  start().stop_listening();
  clock.run_ready();
  EXPECT_EQ(port->statistics().exceptions, 1U);
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_THROW(protocol.transport(), std::logic_error);
}

TEST_F(DeviceGone, DestroyingWhileTheEndIsPending) {
  start().stop_listening();
  port.reset();
  EXPECT_EQ(protocol.stops, 1);
  EXPECT_EQ(clock.advance(1min), 0U);
}

}  // namespace
}  // namespace tunport
