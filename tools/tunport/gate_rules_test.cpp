#include "gate_rules.hpp"

#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

Endpoint at(const char* text) { return *Endpoint::parse(text); }

GateMapping map(const std::string& text) {
  std::string problem;
  const auto mapping = GateMapping::parse(text, problem);
  EXPECT_TRUE(mapping) << text << ": " << problem;
  return mapping.value_or(GateMapping{});
}

TEST(GateMapping, ReadsDestinationsAndTargets) {
  EXPECT_EQ(
      map("203.0.113.7:80=127.0.0.1:8080"),
      (GateMapping{.destination = IpPrefix{"203.0.113.7/32"}, .port = 80, .target = at("127.0.0.1:8080")}));
  EXPECT_EQ(map("*:25=refuse"), (GateMapping{.port = 25}));
  EXPECT_EQ(map("*=drop"), (GateMapping{.refusal = GateRefusal::drop}));
  EXPECT_EQ(map("10.0.0.0/8=prohibited"),
            (GateMapping{.destination = IpPrefix{"10.0.0.0/8"}, .refusal = GateRefusal::prohibited}));
  EXPECT_EQ(map("2001:db8::7=unreachable"), (GateMapping{.destination = IpPrefix{"2001:db8::7/128"},
                                                         .refusal = GateRefusal::host_unreachable}));
  EXPECT_EQ(map("[2001:db8::/32]:80=[::1]:8080"),
            (GateMapping{.destination = IpPrefix{"2001:db8::/32"}, .port = 80, .target = at("[::1]:8080")}));
  EXPECT_EQ(map("192.0.2.1=127.0.0.1"), (GateMapping{.destination = IpPrefix{"192.0.2.1/32"},
                                                     .target = Endpoint{Ipv4Address{0x7f000001}, 0}}));
}

TEST(GateMapping, SaysWhatIsWrong) {
  for (const char* text : {"", "=", "x=refuse", "1.2.3.4", "1.2.3.4:0=refuse", "1.2.3.4:x=refuse", "1.2.3.4=",
                           "1.2.3.4=nowhere", "1.2.3.4=5.6.7.8:99999", "[::1=refuse", "[::1]80=refuse"}) {
    std::string problem;
    EXPECT_FALSE(GateMapping::parse(text, problem)) << text;
    EXPECT_NE(problem, "") << text;
  }
}

class GateRulesTest : public testing::Test {
 protected:
  void leads(const char* from, const char* to, GateWay way = GateWay::direct) {
    EXPECT_EQ(rules.decide(at(from)), (GateTarget{.endpoint = at(to), .way = way})) << from;
  }
  void leads_there(const char* to) { leads(to, to, GateWay::upstream); }
  void refused(const char* from, GateRefusal how) { EXPECT_EQ(rules.decide(at(from)).refusal, how) << from; }
  GateRules rules;
};

TEST_F(GateRulesTest, WithoutRulesEverythingLeadsWhereItIsMeantTo) {
  leads_there("198.51.100.7:80");
  leads_there("[2001:db8::1]:443");
  refused("127.0.0.1:22", GateRefusal::prohibited);
  refused("[::1]:22", GateRefusal::prohibited);
}

TEST_F(GateRulesTest, TheFirstMapCounts) {
  rules.maps = {map("198.51.100.7:80=127.0.0.1:8080"), map("198.51.100.0/24=192.0.2.1"), map("*:25=refuse")};
  leads("198.51.100.7:80", "127.0.0.1:8080");
  leads("198.51.100.7:81", "192.0.2.1:81");
  refused("8.8.8.8:25", GateRefusal::reset);
  leads_there("8.8.8.8:26");
}

TEST_F(GateRulesTest, TheGatewayIsTheMachineOnlyIfAllowed) {
  rules.gateways = {"10.0.2.2", "fd00:2::2"};
  rules.inside = {"10.0.2.0/24", "fd00:2::/64"};
  refused("10.0.2.2:80", GateRefusal::prohibited);
  refused("10.0.2.9:80", GateRefusal::host_unreachable);
  rules.allow_host_loopback = true;
  leads("10.0.2.2:80", "127.0.0.1:80");
  leads("[fd00:2::2]:80", "[::1]:80");
  leads("127.0.0.1:80", "127.0.0.1:80");
}

TEST_F(GateRulesTest, DnsLeadsToTheMachinesResolver) {
  rules.dns = {at("10.0.2.3:53")};
  rules.inside = {"10.0.2.0/24"};
  refused("10.0.2.3:53", GateRefusal::reset);
  rules.resolvers = {at("127.0.0.53:53")};
  leads("10.0.2.3:53", "127.0.0.53:53");
  refused("10.0.2.3:80", GateRefusal::host_unreachable);
  rules.answers_names = true;
  EXPECT_EQ(rules.decide(at("10.0.2.3:53")),
            (GateTarget{at("10.0.2.3:53"), GateRefusal::reset, GateWay::names}));
  rules.maps = {map("*:53=192.0.2.1")};
  leads("10.0.2.3:53", "192.0.2.1:53");
}

TEST_F(GateRulesTest, TheLongestPrefixDecides) {
  rules.denied = {"10.0.0.0/8", "192.0.2.0/24"};
  rules.allowed = {"10.1.0.0/16"};
  refused("10.2.0.1:1", GateRefusal::prohibited);
  leads_there("10.1.0.1:1");
  refused("192.0.2.1:1", GateRefusal::prohibited);
  rules.denied.push_back("10.1.2.0/24");
  refused("10.1.2.3:1", GateRefusal::prohibited);
}

}  // namespace
}  // namespace tunport::tool
