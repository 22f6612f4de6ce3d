#include "tunport/port/fmt.hpp"

#include <gtest/gtest.h>

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

TEST(PortFmt, FormatsPortsAndTheirNames) {
  EXPECT_EQ(fmt::format("{}", PortConfig{DeviceKind::tap, "tp0", OpenMode::either, 9000}),
            "tap:tp0,mtu=9000");
  EXPECT_EQ(fmt::format("{:>9}", TunnelAddress{DeviceKind::tun, "tp0"}), "  tun:tp0");
  ManualReactor clock;
  MemorySystem kernel;
  port_test::Recorder protocol;
  const TuntapPort port{clock, DeviceKind::tap, "tap0", protocol, {.system = kernel}};
  EXPECT_EQ(fmt::format("{}", port), to_string(port));
}

}  // namespace
}  // namespace tunport
