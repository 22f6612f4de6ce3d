#include "doctor_command.hpp"

#include <gmock/gmock.h>

#include "tunport/base/error.hpp"

namespace tunport::tool {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::Matcher;

Matcher<const Finding&> is(Verdict verdict, const std::string& text) {
  return AllOf(Field(&Finding::verdict, verdict), Field(&Finding::text, HasSubstr(text)));
}

const User root{.uid = 0, .groups = {0}, .may_make = true};
const User user{.uid = 1000, .groups = {1000, 27}};
const Trial success{.offload = "checksum+tso4+tso6+ecn+uso"};
const Trial failure{.failure = "no user namespaces; turn them on"};

LinkInfo tap(const TunnelInfo& tunnel = {.kind = DeviceKind::tap, .persistent = true}) {
  return {.index = 5, .name = "tp0", .tunnel = tunnel};
}
PortConfig port(std::string_view text) { return PortConfig::parse(text).config.value(); }

TEST(Doctor, TheDriver) {
  EXPECT_THAT(check_driver(Errc::no_such_device), is(Verdict::ok, "can be opened"));
  EXPECT_THAT(check_driver(Errc::no_driver), is(Verdict::missing, "modprobe tun"));
  EXPECT_THAT(check_driver(Errc::clone_device_denied), is(Verdict::missing, "chmod"));
  EXPECT_THAT(check_driver(Errc::clone_device_forbidden), is(Verdict::missing, "cgroup"));
}

TEST(Doctor, OneWayToAnInterfaceIsEnough) {
  EXPECT_THAT(check_ways(root, success, false), ElementsAre(is(Verdict::ok, ""), is(Verdict::ok, "")));
  EXPECT_THAT(check_ways(root, failure, false),
              ElementsAre(is(Verdict::ok, ""), is(Verdict::note, "turn them on")));
  EXPECT_THAT(check_ways(user, success, false),
              ElementsAre(is(Verdict::note, "sudo ip tuntap add"), is(Verdict::ok, "")));
  EXPECT_THAT(check_ways(user, failure, true),
              ElementsAre(is(Verdict::note, ""), is(Verdict::note, "turn them on")));
  EXPECT_THAT(check_ways(user, failure, false),
              ElementsAre(is(Verdict::missing, ""), is(Verdict::missing, "turn them on")));
}

TEST(Doctor, Offload) {
  EXPECT_THAT(check_offload(success), ElementsAre(is(Verdict::ok, "uso"), is(Verdict::ok, "Linux 6.17")));
  EXPECT_THAT(check_offload({.offload = "checksum+tso4+tso6", .tunnels = true}),
              ElementsAre(is(Verdict::note, "Linux 6.2"), is(Verdict::ok, "granted")));
  EXPECT_THAT(check_offload({.offload = ""}), ElementsAre(is(Verdict::note, "slower"), is(Verdict::ok, "")));
  EXPECT_THAT(check_offload(failure), ElementsAre(is(Verdict::note, "not known")));
}

TEST(Doctor, TheInterface) {
  EXPECT_THAT(check_port(port("tap:tp0"), {}, {}, user), is(Verdict::ok, "free"));
  EXPECT_THAT(check_port(port("tap:tp0,mode=attach"), {}, {}, user),
              is(Verdict::missing, "sudo ip tuntap add dev tp0 mode tap"));
  EXPECT_THAT(check_port(port("tap:tp0"), LinkInfo{.index = 2, .name = "tp0"}, {}, root),
              is(Verdict::missing, "no TUN/TAP interface"));
  EXPECT_THAT(check_port(port("tun:tp0"), tap(), {}, root), is(Verdict::missing, "write tap:tp0"));
  EXPECT_THAT(check_port(port("tap:tp0,mode=create"), tap(), {}, root),
              is(Verdict::missing, "there already"));
  EXPECT_THAT(check_port(port("tap:tp0"), tap(), {{42, "openvpn"}}, root),
              is(Verdict::missing, "held by openvpn (process 42)"));
  EXPECT_THAT(check_port(port("tap:tp0"), tap({.kind = DeviceKind::tap, .multi_queue = true}), {}, root),
              is(Verdict::missing, "multi-queue"));
}

TEST(Doctor, TheRightToTheInterface) {
  const auto of = [](std::optional<std::uint32_t> owner, std::optional<std::uint32_t> group) {
    return tap({.kind = DeviceKind::tap, .persistent = true, .owner = owner, .group = group});
  };
  EXPECT_THAT(check_port(port("tap:tp0"), of({}, {}), {}, root), is(Verdict::ok, "may attach"));
  EXPECT_THAT(check_port(port("tap:tp0"), of(1000, {}), {}, user), is(Verdict::ok, "may attach"));
  EXPECT_THAT(check_port(port("tap:tp0"), of({}, 27), {}, user), is(Verdict::ok, "may attach"));
  for (const auto& other : {of(0, {}), of({}, 28), of(1000, 28)})
    EXPECT_THAT(check_port(port("tap:tp0"), other, {}, user), is(Verdict::missing, "user $USER"));
}

TEST(Doctor, RpFilter) {
  const auto of = [](long all, long own) {
    return check_rp_filter("tp0", [=](const std::string& path) -> std::optional<long> {
      if (path == "net/ipv4/conf/all/rp_filter") return all;
      if (path == "net/ipv4/conf/tp0/rp_filter") return own;
      return std::nullopt;
    });
  };
  EXPECT_EQ(of(0, 0).verdict, Verdict::ok);
  EXPECT_THAT(of(1, 0), is(Verdict::note, "net.ipv4.conf.tp0.rp_filter=2"));
  EXPECT_EQ(of(0, 1).verdict, Verdict::note);
  EXPECT_EQ(of(2, 1).verdict, Verdict::ok) << "the larger of the two";
}

TEST(Doctor, AFirewall) {
  const auto chains = [](const std::string& list) {
    return R"({"nftables":[{"metainfo":{}},)" + list + "]}";
  };
  EXPECT_THAT(*check_firewall(chains(R"({"table":{"name":"filter"}})")), ElementsAre(is(Verdict::ok, "")));
  EXPECT_THAT(
      *check_firewall(chains(
          R"({"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}},
             {"chain":{"family":"inet","table":"filter","name":"output","hook":"output","policy":"accept"}})")),
      ElementsAre(is(Verdict::note, "nft insert rule inet filter input iifname NAME accept")));
  const auto last_rule = [&](const std::string& hook, const std::string& statements) {
    return *check_firewall(
        chains(R"({"chain":{"family":"inet","table":"t","name":"c","hook":")" + hook +
               R"(","policy":"accept"}},{"rule":{"family":"inet","table":"t","chain":"c","expr":[)" +
               statements + "]}}"));
  };
  EXPECT_THAT(last_rule("input", R"({"counter":{"packets":0}},{"reject":{"type":"icmpx"}})"),
              ElementsAre(is(Verdict::note, "nft insert rule inet t c iifname NAME accept")));
  EXPECT_THAT(last_rule("output", R"({"log":null},{"drop":null})"),
              ElementsAre(is(Verdict::note, "nft insert rule inet t c oifname NAME accept")));
  EXPECT_THAT(last_rule("input", R"({"match":{"op":"=="}},{"drop":null})"), ElementsAre(is(Verdict::ok, "")));
  EXPECT_THAT(last_rule("forward", R"({"drop":null})"), ElementsAre(is(Verdict::ok, "")));
  for (const char* wrong : {"", "{}", "[]", "no", R"({"nftables":1})"})
    EXPECT_FALSE(check_firewall(wrong)) << wrong;
  EXPECT_TRUE(check_firewall(R"({"nftables":[1,null,{"chain":7},{"chain":{"policy":"accept"}},{"rule":3},
      {"rule":{"expr":1}},{"rule":{"expr":[1,null,{"drop":null}]}}]})"));
}

TEST(Doctor, TheReport) {
  EXPECT_EQ(to_report({{Verdict::ok, "a", "b"}, {Verdict::note, "c", "d; e"}, {Verdict::missing, "f", "g"}}),
            "ok       a: b\nnote     c: d; e\nMISSING  f: g\n");
}

}  // namespace
}  // namespace tunport::tool
