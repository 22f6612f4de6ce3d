#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tunport/base/log.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/datagram_box.hpp"

namespace tunport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using Box = test_support::DatagramBox;

/// Takes whole runs.
class RunBox : public Box {
 public:
  bool accepts_super_packets() const override { return true; }
  void datagrams_received(const Datagrams& run) override {
    sizes.push_back(run.size());
    Box::datagrams_received(run);
  }
  std::vector<std::size_t> sizes;
};

Endpoint any() { return {*IpAddress::parse("127.0.0.1"), 0}; }

/// On the fake kernel, and on the loopback of the real kernel.
class UdpBurst : public testing::TestWithParam<const char*> {
 protected:
  ~UdpBurst() override { set_log_sink({}); }
  PortOptions options() {
    if (fake) return {.system = kernel};
    return {};
  }
  void start() {
    left = std::make_unique<UdpPort>(clock, any(), west, options());
    right = std::make_unique<UdpPort>(clock, any(), east, options());
    left->start_listening();
    right->start_listening();
  }
  /// Writes datagrams of `sizes` within a burst, each filled with a letter of its own.
  std::vector<std::string> write(const std::vector<std::size_t>& sizes) {
    std::vector<std::string> written;
    const Cork cork{clock};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      written.emplace_back(sizes[i], static_cast<char>('a' + i % 26));
      EXPECT_TRUE(left->write_to(right->get_host(), as_bytes(written.back())));
    }
    return written;
  }

  const bool fake = std::string_view{GetParam()} == "Fake";
  MemorySystem kernel;
  ManualReactor clock;
  Box west;
  Box east;
  std::unique_ptr<UdpPort> left;
  std::unique_ptr<UdpPort> right;
};

INSTANTIATE_TEST_SUITE_P(Systems, UdpBurst, testing::Values("Fake", "Kernel"),
                         [](const auto& system) { return std::string{system.param}; });

TEST_P(UdpBurst, GoesOutAndComesInAsOneRun) {
  start();
  const auto written = write(std::vector<std::size_t>(20, 1000));
  clock.run_ready();
  EXPECT_EQ(east.received, written);
  EXPECT_EQ(left->statistics().super_packets_out, 1U);
  EXPECT_EQ(left->statistics().packets_out, 20U);
  EXPECT_EQ(left->statistics().bytes_out, 20'000U);
  EXPECT_EQ(right->statistics().super_packets_in, 1U);
  EXPECT_EQ(right->statistics().packets_in, 20U);
  EXPECT_EQ(right->statistics().bytes_in, 20'000U);
}

TEST_P(UdpBurst, OfAnySizesKeepsItsOrder) {
  start();
  for (const std::vector<std::size_t>& sizes :
       std::vector<std::vector<std::size_t>>{{10, 10, 5, 10, 10, 20, 1},
                                             {0, 0, 3, 0},
                                             {1400, 1400, 40'000, 1400, 1400},
                                             std::vector<std::size_t>(200, 8),
                                             std::vector<std::size_t>(100, 1400),
                                             {65'507, 1, 1, 65'507}}) {
    east.received.clear();
    const auto written = write(sizes);
    clock.run_ready();
    EXPECT_EQ(east.received, written);
  }
  EXPECT_EQ(left->statistics().packets_out, right->statistics().packets_in);
}

TEST_P(UdpBurst, ToSeveralReceiversKeepsTheOrderOfEach) {
  start();
  constexpr int many = 20;  // more than the sink has runs
  std::vector<std::unique_ptr<Box>> boxes;
  std::vector<std::unique_ptr<UdpPort>> ports;
  for (int i = 0; i < many; ++i) {
    boxes.push_back(std::make_unique<Box>());
    ports.push_back(std::make_unique<UdpPort>(clock, any(), *boxes.back(), options()));
    ports.back()->start_listening();
  }
  {
    const Cork cork{clock};
    for (const char* text : {"a", "b", "cc", "d"})
      for (const auto& port : ports) EXPECT_TRUE(left->write_to(port->get_host(), as_bytes(text)));
  }
  clock.run_ready();
  for (const auto& box : boxes) EXPECT_THAT(box->received, ElementsAre("a", "b", "cc", "d"));
  ports.clear();
}

TEST_P(UdpBurst, AProtocolThatAcceptsSuperPacketsGetsTheRun) {
  RunBox runs;
  left = std::make_unique<UdpPort>(clock, any(), west, options());
  right = std::make_unique<UdpPort>(clock, any(), runs, options());
  left->start_listening();
  right->start_listening();
  const auto written = write({100, 100, 100, 50});
  left->write_to(right->get_host(), as_bytes("alone"));
  left->write_to(right->get_host(), {});
  clock.run_ready();
  EXPECT_THAT(runs.sizes, ElementsAre(4, 1, 1));
  EXPECT_THAT(runs.received, SizeIs(6));
  right.reset();
}

TEST_P(UdpBurst, IsOfSingleDatagramsWithoutOffload) {
  PortOptions single = options();
  single.offload = OffloadFeatures::none();
  left = std::make_unique<UdpPort>(clock, any(), west, single);
  right = std::make_unique<UdpPort>(clock, any(), east, single);
  left->start_listening();
  right->start_listening();
  const auto written = write(std::vector<std::size_t>(5, 100));
  clock.run_ready();
  EXPECT_EQ(east.received, written);
  EXPECT_EQ(left->statistics().super_packets_out + right->statistics().super_packets_in, 0U);
}

TEST_P(UdpBurst, IsTakenApartForAReceiverWithoutOffload) {
  PortOptions single = options();
  single.offload = OffloadFeatures::none();
  left = std::make_unique<UdpPort>(clock, any(), west, options());
  right = std::make_unique<UdpPort>(clock, any(), east, single);
  left->start_listening();
  right->start_listening();
  const auto written = write({100, 100, 7});
  clock.run_ready();
  EXPECT_EQ(east.received, written);
  EXPECT_EQ(left->statistics().super_packets_out, 1U);
  EXPECT_EQ(right->statistics().packets_in, 3U);
}

TEST_P(UdpBurst, APauseTakesEffectBehindTheRunAndAStopAtOnce) {
  start();
  east.on_datagram = [&](const Datagram&) { right->pause_producing(); };
  write({10, 10, 10});
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(3));
  right->resume_producing();
  east.on_datagram = [&](const Datagram&) { right->stop_listening(); };
  write({10, 10, 10});
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(4));
  EXPECT_EQ(right->statistics().drops[DropReason::aborted], 2U);
}

TEST_P(UdpBurst, MayDestroyThePortThatDeliversIt) {
  start();
  east.on_datagram = [&](const Datagram&) { right.reset(); };
  write({10, 10, 10});
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(1));
}

TEST_P(UdpBurst, AnExceptionCostsOneDatagram) {
  start();
  set_log_sink([](LogLevel, std::string_view, std::string_view) {});
  east.on_datagram = [&](const Datagram&) {
    if (east.received.size() == 2) throw std::runtime_error{"no"};
  };
  write({10, 10, 10});
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(3));
  EXPECT_EQ(right->statistics().exceptions, 1U);
}

TEST_P(UdpBurst, WhatTheReceiverHasNoRoomForIsCounted) {
  PortOptions small = options();
  small.socket.receive_buffer = 4096;
  left = std::make_unique<UdpPort>(clock, any(), west, options());
  right = std::make_unique<UdpPort>(clock, any(), east, small);
  left->start_listening();
  right->start_listening();
  for (int i = 0; i < 50; ++i) left->write_to(right->get_host(), as_bytes(std::string(1000, 'x')));
  clock.run_ready();
  EXPECT_LT(east.received.size(), 50U);
  left->write_to(right->get_host(), as_bytes("tells"));
  clock.run_ready();
  EXPECT_EQ(right->statistics().drops[DropReason::receive_overflow] + right->statistics().packets_in, 51U);
}

TEST_P(UdpBurst, TheBuffersAreWhatWasAskedForOrWhatTheSystemAllows) {
  start();
  EXPECT_GE(right->receive_buffer(), std::size_t{200} << 10);
  EXPECT_GE(right->send_buffer(), std::size_t{200} << 10);
  if (fake) {
    EXPECT_EQ(right->receive_buffer(), std::size_t{8} << 20) << "doubled for the kernel's overhead";
  }
  UdpPort closed{clock, any(), west, options()};
  EXPECT_EQ(closed.receive_buffer(), 0U);
}

/// A refusal by a kernel, or by a device.
class UdpDemotion : public testing::Test {
 protected:
  UdpDemotion() {
    set_log_sink([this](LogLevel, std::string_view, std::string_view what) { said += what; });
    left.start_listening();
    right.start_listening();
  }
  ~UdpDemotion() override { set_log_sink({}); }
  void write(std::size_t size, int count) {
    const Cork cork{clock};
    for (int i = 0; i < count; ++i) left.write_to(right.get_host(), as_bytes(std::string(size, 'x')));
  }

  MemorySystem kernel;
  ManualReactor clock;
  Box west;
  Box east;
  UdpPort left{clock, any(), west, {.system = kernel}};
  UdpPort right{clock, any(), east, {.system = kernel}};
  std::string said;
};

TEST_F(UdpDemotion, ADeviceThatCannotSegmentGetsSingleDatagramsFromThenOn) {
  for (const int error : {EIO, EOPNOTSUPP, ENOPROTOOPT}) {
    left.stop_listening();
    clock.run_ready();
    left.start_listening();
    said.clear();
    const std::uint64_t runs = left.statistics().super_packets_out;
    kernel.fail_next(Call::sendmsg, error, error == EIO ? 1 : 2);  // the first may be an ICMP error
    write(100, 5);
    clock.run_ready();
    EXPECT_THAT(east.received, SizeIs(5)) << error;
    EXPECT_NE(said, "");
    said.clear();
    write(100, 5);
    clock.run_ready();
    EXPECT_THAT(east.received, SizeIs(10));
    EXPECT_EQ(left.statistics().super_packets_out, runs);
    EXPECT_EQ(said, "") << "once";
    EXPECT_EQ(left.statistics().drops.total(), 0U);
    east.received.clear();
  }
}

TEST_F(UdpDemotion, WhatDoesNotFitIntoThePathIsSentSinglyAndShorterOnesAreStillGathered) {
  kernel.fail_next(Call::sendmsg, EMSGSIZE, 2);  // the first may be an ICMP error
  write(1400, 5);
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(5));
  write(1400, 5);
  EXPECT_EQ(left.statistics().super_packets_out, 0U);
  write(1399, 5);
  EXPECT_EQ(left.statistics().super_packets_out, 1U);
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(15));
  EXPECT_EQ(left.statistics().drops.total(), 0U);
}

TEST_F(UdpDemotion, ARefusalThatSingleDatagramsMeetTooDemotesNothing) {
  kernel.fail_next(Call::sendmsg, EINVAL, 6);
  write(100, 5);
  EXPECT_EQ(left.statistics().drops[DropReason::kernel_refused], 5U);
  EXPECT_EQ(said, "");
  write(100, 5);
  EXPECT_EQ(left.statistics().super_packets_out, 1U);
}

TEST_F(UdpDemotion, AFullBufferInBetweenLosesNothing) {
  kernel.fail_next(Call::sendmsg, EIO);
  kernel.fail_next(Call::sendmsg, EAGAIN, 3);
  write(100, 5);
  EXPECT_NE(left.queued_bytes(), 0U);
  left.write_to(right.get_host(), as_bytes("behind"));
  clock.run_ready();
  ASSERT_THAT(east.received, SizeIs(6));
  EXPECT_EQ(east.received.back(), "behind");
  EXPECT_EQ(left.statistics().packets_out, 6U);
  EXPECT_EQ(left.statistics().drops.total(), 0U);
}

TEST_F(UdpDemotion, ARunThatMeetsAFullBufferIsQueuedWhole) {
  kernel.fail_next(Call::sendmsg, EAGAIN);
  write(100, 5);
  clock.run_ready();
  EXPECT_THAT(east.received, SizeIs(5));
  EXPECT_EQ(left.statistics().super_packets_out, 1U);
}

TEST_F(UdpDemotion, AnAbortedRunIsCountedAsItsDatagrams) {
  kernel.fail_next(Call::sendmsg, EAGAIN);
  write(100, 5);
  left.stop_listening();
  clock.run_ready();
  EXPECT_EQ(left.statistics().drops[DropReason::aborted], 5U);
  EXPECT_THAT(east.received, IsEmpty());
}

}  // namespace
}  // namespace tunport
