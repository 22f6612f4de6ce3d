// Protocols that destroy their port during the start.
#include <stdexcept>

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;

class DestroyedInItsStart : public PortTest {
 protected:
  void expect_a_fresh_start() {
    EXPECT_FALSE(port);
    EXPECT_THROW(protocol.transport(), std::logic_error) << "the port is gone";
    EXPECT_EQ(clock.run_ready(), 0U);
    protocol.on_start = {};
    start();
    EXPECT_EQ(protocol.starts, 2) << "the port is the first again";
    interface().inject(frame(1));
    clock.run_ready();
    EXPECT_EQ(protocol.frames.size(), 1U);
  }
};

TEST_F(DestroyedInItsStart, StartListeningReturns) {
  protocol.on_start = [&] { port.reset(); };
  std::error_code ec;
  make().start_listening(ec);
  EXPECT_FALSE(ec);
  EXPECT_EQ(protocol.stops, 1);
  expect_a_fresh_start();
}

TEST_F(DestroyedInItsStart, WhatItThrowsIsThrown) {
  protocol.on_start = [&] {
    port.reset();
    throw std::runtime_error("and throws on top");
  };
  EXPECT_THROW(make().start_listening(), std::runtime_error);
  expect_a_fresh_start();
}

TEST_F(DestroyedInItsStart, OrByTheProducerThatAFailedStartStops) {
  producer.on_stop = [&] { port.reset(); };
  protocol.on_start = [&] {
    port->register_producer(producer, ProducerKind::push);
    throw std::runtime_error("cannot start");
  };
  EXPECT_THROW(make().start_listening(), std::runtime_error);
  expect_a_fresh_start();
}

class StartOnADevice : public PortTest {};

TEST_F(StartOnADevice, ARestartOpensItOnTheSystemThatItIsFrom) {
  MemorySystem other;
  TuntapPort on_it{clock, Device::open(DeviceKind::tap, "tap0", {}, other), protocol, {.system = kernel}};
  on_it.start_listening();
  on_it.stop_listening();
  clock.run_ready();
  on_it.start_listening();
  std::error_code ec;
  EXPECT_TRUE(other.links().find("tap0", ec));
  EXPECT_FALSE(kernel.links().find("tap0", ec));
}

}  // namespace
}  // namespace tunport
