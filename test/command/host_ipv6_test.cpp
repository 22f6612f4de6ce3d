/// `tunport host` with IPv6, and with every address of a prefix.

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

/// With IPv6 on the interface.
class CommandHostIpv6 : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped() && !std::filesystem::exists("/proc/sys/net/ipv6"))
      GTEST_SKIP() << "this kernel has no IPv6";
  }
};

TEST_F(CommandHostIpv6, AnswersPingsOfEverySizeOnTapAndTun) {
  for (const std::string kind : {"tap", "tun"}) {
    const auto finished =
        run({"host", kind + ":tp0", "--interface-address", "fd00:77::1/64", "--host-address", "fd00:77::2",
             "--json", "--", "sh", "-c",
             "ping -6 -q -c 3 -i 0.1 -W 5 fd00:77::2 && ping -6 -q -c 2 -i 0.1 -W 5 -s 65507 fd00:77::2"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    const auto json = ordered_json::parse(lines(finished.out).back());
    EXPECT_EQ(json["host"]["icmpv6_echo_replies"], 5);
    EXPECT_EQ(json["host"]["reassembled"], 2);
    if (kind != "tap") continue;
    EXPECT_GE(json["host"]["neighbor_advertisements"], 2) << "unasked, of two addresses";
  }
}

TEST_F(CommandHostIpv6, IsThereForTheCommandsFirstPacket) {
  // The kernel's own address is usable at once; the host probes all the same.
  ASSERT_EQ(sandbox::run({"sysctl", "-w", "net.ipv6.conf.default.accept_dad=0"}).status, 0);
  for (const std::string kind : {"tap", "tun"}) {
    const auto finished =
        run({"host", kind + ":tp0", "--interface-address", "fd00:77::1/64", "--host-address", "fd00:77::2",
             "--json", "--", "ping", "-6", "-q", "-c", "1", "-W", "5", "fd00:77::2"});
    EXPECT_EQ(finished.status, 0) << finished.err;
    const auto json = ordered_json::parse(lines(finished.out).back());
    // A question for an address that is not in use yet would have one of these fates.
    EXPECT_FALSE(json["port"]["drops"].contains("answer_not_allowed")) << kind << ' ' << finished.out;
    EXPECT_FALSE(json["port"]["drops"].contains("arp_not_for_us")) << kind << ' ' << finished.out;
    EXPECT_EQ(json["host"]["icmpv6_echo_replies"], 1);
    EXPECT_EQ(json["host"]["duplicate_addresses"], 0);
  }
}

TEST_F(CommandHostIpv6, HasEveryAddressOfAPrefix) {
  const auto finished =
      run({"host", "tap:tp0", "--interface-address", "fd00:77::1/64", "10.0.0.1/8", "--host-address",
           "fd00:77::/64", "10.77.0.0/16", "--every-address", "--json", "--", "sh", "-c",
           "ping -6 -q -c 1 -W 5 fd00:77::dead:beef && ping -q -c 1 -W 5 10.77.0.3 && ping -q -c 1 -W 5 "
           "10.77.255.254 && "
           "! ping -q -c 1 -W 0.3 10.77.0.0 && ! ping -q -c 1 -W 0.3 10.78.0.1"});
  EXPECT_EQ(finished.status, 0) << finished.err;
  const auto json = ordered_json::parse(lines(finished.out).back());
  EXPECT_EQ(json["host"]["icmp_echo_replies"], 2);
  EXPECT_EQ(json["host"]["icmpv6_echo_replies"], 1);
}

TEST_F(CommandHostIpv6, NeverKeepsTheKernelFromAnAddressOfThePrefix) {
  // Duplicate detection of the kernel's side: without `nodad`, an address of the prefix becomes usable.
  const auto finished = run({"host", "tap:tp0", "--interface-address", "fd00:77::1/64", "--host-address",
                             "fd00:77::/64", "--every-address", "--", "sh", "-c",
                             "ip address add fd00:77::5/64 dev tp0; for i in $(seq 50); do sleep 0.1; "
                             "ip -6 address show dev tp0 | grep -q 'fd00:77::5.*tentative' || break; done; "
                             "ip -6 address show dev tp0 | grep 'fd00:77::5'"});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("dadfailed")));
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("fd00:77::5/64 scope global tentative")));
}

TEST_F(CommandHostIpv6, AdvertisesAPrefix) {
  const auto finished = run({"host", "tap:tp0", "--interface-address", "10.77.0.1/24", "--host-address",
                             "10.77.0.2", "--advertise-prefix", "fd00:88::/64", "--json", "--", "sh", "-c",
                             "for i in $(seq 100); do ip -6 address show dev tp0 | grep -q "
                             "'fd00:88:.*dynamic' && exit 0; sleep 0.1; "
                             "done; exit 1"});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_GE(ordered_json::parse(lines(finished.out).back())["host"]["router_advertisements"], 1);
}

}  // namespace
}  // namespace tunport::command
