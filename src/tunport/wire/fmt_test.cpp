#include "tunport/wire/fmt.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(WireFmt, FormatsAddresses) {
  EXPECT_EQ(fmt::format("{} {}", *MacAddress::parse("02:00:00:00:00:05"), *Ipv4Address::parse("10.77.0.2")),
            "02:00:00:00:00:05 10.77.0.2");
  const IpAddress address = *IpAddress::parse("fd00::1");
  EXPECT_EQ(fmt::format("{} {}", address, address.v6()), "fd00::1 fd00::1");
  EXPECT_EQ(fmt::format("{:<14}|", *IpPrefix::parse("10.77.0.1/24")), "10.77.0.1/24  |");
  EXPECT_EQ(fmt::format("{}", Endpoint{address, 42}), to_string(Endpoint{address, 42}));
}

}  // namespace
}  // namespace tunport
