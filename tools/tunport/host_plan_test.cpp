#include "host_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failure.hpp"

namespace tunport::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

HostArguments good() {
  HostArguments arguments;
  arguments.port = "tap:tp0,mtu=9000";
  arguments.interface_addresses = {"10.77.0.1/24"};
  arguments.host_addresses = {"10.77.0.2"};
  return arguments;
}

TEST(HostPlan, MeansWhatWasTyped) {
  auto arguments = good();
  arguments.interface_addresses.emplace_back("fd00::1/64");
  arguments.host_addresses.emplace_back("10.1.2.3");  // beyond the subnet: a route may lead there
  arguments.mac = "02:00:00:00:00:05";
  arguments.udp_echo = {"7", "65535"};
  arguments.command = {"ping", "10.77.0.2"};
  arguments.json = true;
  const auto plan = make_plan(arguments);
  EXPECT_EQ(plan.port, (PortConfig{DeviceKind::tap, "tp0", OpenMode::either, {.mtu = 9000}}));
  EXPECT_THAT(plan.interface_addresses,
              ElementsAre(*IpPrefix::parse("10.77.0.1/24"), *IpPrefix::parse("fd00::1/64")));
  EXPECT_THAT(plan.host_addresses,
              ElementsAre(*Ipv4Address::parse("10.77.0.2"), *Ipv4Address::parse("10.1.2.3")));
  EXPECT_EQ(plan.mac, MacAddress::parse("02:00:00:00:00:05"));
  EXPECT_THAT(plan.udp_echo, ElementsAre(7, 65535));
  EXPECT_EQ(plan.command, arguments.command);
  EXPECT_TRUE(plan.json);
  EXPECT_FALSE(plan.quiet || plan.sandbox);
}

TEST(HostPlan, TheNameOfThePortMayHaveTheInterfaceAddresses) {
  auto arguments = good();
  arguments.port = "tap:tp0,address=10.77.0.1/24,address=fd00::1/64";
  arguments.interface_addresses = {};
  EXPECT_THAT(make_plan(arguments).interface_addresses,
              ElementsAre(*IpPrefix::parse("10.77.0.1/24"), *IpPrefix::parse("fd00::1/64")));
}

TEST(HostPlan, TheSameTwiceIsOnce) {
  auto arguments = good();
  arguments.interface_addresses.emplace_back("10.77.0.1/24");
  arguments.host_addresses.emplace_back("10.77.0.2");
  arguments.udp_echo = {"7", "7"};
  const auto plan = make_plan(arguments);
  EXPECT_EQ(plan.interface_addresses.size(), 1U);
  EXPECT_EQ(plan.host_addresses.size(), 1U);
  EXPECT_EQ(plan.udp_echo.size(), 1U);
}

TEST(HostPlan, APointToPointSubnetHasNoBroadcastAddress) {
  auto arguments = good();
  arguments.interface_addresses = {"10.77.0.2/31"};
  arguments.host_addresses = {"10.77.0.3"};
  EXPECT_NO_THROW(make_plan(arguments));
  arguments.interface_addresses = {"10.77.0.0/32"};
  EXPECT_NO_THROW(make_plan(arguments));
}

TEST(HostPlan, The240NetworkIsOrdinaryAsInLinux) {
  auto arguments = good();
  arguments.interface_addresses = {"240.0.0.1/4"};
  arguments.host_addresses = {"255.255.255.254"};
  EXPECT_NO_THROW(make_plan(arguments));
}

TEST(HostPlan, RefusesAddressesThatNobodyCanHave) {
  for (const char* address : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.77.0.0",
                              "10.77.0.255", "10.77.0.1", "10.77.0.2/24", "::1", "", "10.77.0"}) {
    auto arguments = good();
    arguments.host_addresses = {address};
    try {
      make_plan(arguments);
      ADD_FAILURE() << address;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status(), status::usage);
      EXPECT_THAT(failure.what(), HasSubstr("--host-address '" + std::string{address} + "': "));
    }
  }
  for (const char* address :
       {"0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/4", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.77.0.0/24",
        "10.77.0.255/24", "10.77.0.3/30", "::/0", "ff02::1/64", "10.0.0.1,10.0.0.2"}) {
    auto arguments = good();
    arguments.interface_addresses = {address};
    EXPECT_THROW(make_plan(arguments), Failure) << address;
  }
}

}  // namespace
}  // namespace tunport::tool
