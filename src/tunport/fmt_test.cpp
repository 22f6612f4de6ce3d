#include "tunport/fmt.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

TEST(Fmt, FormatsNamesAsStrings) {
  EXPECT_EQ(
      fmt::format("{}|{:>10}|{:.3}", DropReason::link_down, DropReason::link_down, DropReason::link_down),
      "link_down| link_down|lin");
  EXPECT_EQ(fmt::format("{} {} {}", DeviceKind::tap, LogLevel::warning, OpenMode::attach),
            "tap warning attach");
}

TEST(Fmt, FormatsAddresses) {
  EXPECT_EQ(fmt::format("{} {}", *MacAddress::parse("02:00:00:00:00:05"), *Ipv4Address::parse("10.77.0.2")),
            "02:00:00:00:00:05 10.77.0.2");
  const IpAddress address = *IpAddress::parse("fd00::1");
  EXPECT_EQ(fmt::format("{} {}", address, address.v6()), "fd00::1 fd00::1");
  EXPECT_EQ(fmt::format("{:<14}|", *IpPrefix::parse("10.77.0.1/24")), "10.77.0.1/24  |");
  EXPECT_EQ(fmt::format("{}", Endpoint{address, 42}), to_string(Endpoint{address, 42}));
}

TEST(Fmt, FormatsPortsAndTheirNames) {
  EXPECT_EQ(fmt::format("{}", PortConfig{DeviceKind::tap, "tp0", OpenMode::either, {.mtu = 9000}}),
            "tap:tp0,mtu=9000");
  EXPECT_EQ(fmt::format("{:>9}", TunnelAddress{DeviceKind::tun, "tp0"}), "  tun:tp0");
  ManualReactor clock;
  MemorySystem kernel;
  const TuntapPort port{clock, DeviceKind::tap, "tap0", {.system = kernel}};
  EXPECT_EQ(fmt::format("{}", port), to_string(port));
}

TEST(Fmt, FormatsWhatHasBeenDone) {
  EXPECT_EQ(fmt::format("{}", OffloadFeatures::none()), to_string(OffloadFeatures::none()));
  EXPECT_EQ(fmt::format("{}", WriteResult::make_refused(DropReason::empty)), "refused: empty");
  EXPECT_EQ(fmt::format("{}", DropCounts{}), "none");
  EXPECT_EQ(fmt::format("{}", Statistics{}), to_string(Statistics{}));
}

}  // namespace
}  // namespace tunport
