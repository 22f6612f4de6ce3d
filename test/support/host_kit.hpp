#pragma once
/// The kit of tests of the host: a host on a stand-in for a TAP port.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/host/host.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/testing/matchers.hpp"

namespace tunport::test_support {

/// A host at 10.0.0.2 with an echo service at port 7777, and the kernel's side at 10.0.0.1/24.
class HostTest : public testing::Test {
 protected:
  HostTest() { host_.add_udp(7777, echo_); }
  ~HostTest() override { host_.ethernet().lose_transport(&tap_); }
  void deliver(const packets::Buffer& packet) { tap_.deliver(host_.ethernet(), packet); }
  void deliver_ip(const packets::Buffer& packet, const packets::EthernetFields& fields = {}) {
    deliver(packets::ethernet(fields, packet));
  }
  /// Expects a drop of the packet for `reason`, once, and no answer.
  void expect_dropped(const char* what, DropReason reason) {
    EXPECT_THAT(tap_.written, testing::IsEmpty()) << what;
    EXPECT_EQ(tap_.drops[reason], 1U) << what;
    EXPECT_EQ(tap_.drops.total(), 1U) << what;
    tap_.written.clear();
    tap_.drops = {};
  }

  Host host_{{.addresses = {packets::host_ip}, .mac = packets::host_mac, .subnets = {"10.0.0.1/24"}}};
  UdpEcho echo_;
  FakeTransport tap_;
};

}  // namespace tunport::test_support
