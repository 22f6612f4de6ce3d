#include <algorithm>
#include <cerrno>

#include <gmock/gmock.h>
#include <sched.h>

#include "tunport/device/device.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

using sandbox::as_user;
using sandbox::is_real_root;
using sandbox::run;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

/// The oracle is `ip`, which prints the kernel's state.
class Links : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    tun = Device::open(DeviceKind::tun, "tun0");
    tap = Device::open(DeviceKind::tap, "tap0");
  }
  static std::string ip(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.output;
    return result.output;
  }
  void expect_ok() const { EXPECT_FALSE(ec) << ec.message(); }

  Device tun;
  Device tap;
};

TEST_F(Links, FindTellsWhatTheKernelKnows) {
  const auto lo = links.find("lo", ec);
  ASSERT_TRUE(lo) << ec.message();
  EXPECT_EQ(lo->index, 1);
  EXPECT_EQ(lo->name, "lo");
  EXPECT_EQ(lo->mtu, 65536U);
  EXPECT_TRUE(lo->up);
  EXPECT_FALSE(lo->tunnel);
  const auto link = links.find("tap0", ec);
  ASSERT_TRUE(link) << ec.message();
  EXPECT_EQ(link->mtu, 1500U);
  EXPECT_FALSE(link->up);
  EXPECT_EQ(link->tx_queue_length, 1000U);
  EXPECT_THAT(ip({"link", "show", "tap0"}), HasSubstr(to_string(link->mac)));
  EXPECT_EQ(links.find("tun0", ec)->mac, MacAddress{});
}

TEST_F(Links, FindTellsWhatATunnelIs) {
  // A user namespace with one user knows no other user.
  const std::uint32_t user = is_real_root() ? 1234 : 0;
  const std::uint32_t group = is_real_root() ? 4321 : 0;
  ip({"tuntap", "add", "plain", "mode", "tun", "user", std::to_string(user), "group", std::to_string(group)});
  const auto plain = links.find("plain", ec);
  ASSERT_TRUE(plain && plain->tunnel) << ec.message();
  EXPECT_EQ(plain->tunnel->kind, DeviceKind::tun);
  EXPECT_TRUE(plain->tunnel->persistent);
  EXPECT_FALSE(plain->tunnel->packet_information);
  EXPECT_FALSE(plain->tunnel->vnet_header);
  EXPECT_FALSE(plain->tunnel->multi_queue);
  EXPECT_EQ(plain->tunnel->owner, user);
  EXPECT_EQ(plain->tunnel->group, group);
  ip({"tuntap", "add", "full", "mode", "tap", "pi", "vnet_hdr", "multi_queue"});
  const auto full = links.find("full", ec);
  ASSERT_TRUE(full && full->tunnel) << ec.message();
  EXPECT_EQ(full->tunnel->kind, DeviceKind::tap);
  EXPECT_TRUE(full->tunnel->packet_information);
  EXPECT_TRUE(full->tunnel->vnet_header);
  EXPECT_TRUE(full->tunnel->multi_queue);
  EXPECT_FALSE(full->tunnel->owner);
  EXPECT_FALSE(full->tunnel->group);
}

TEST_F(Links, UnknownNameIsNoSuchDevice) {
  const auto expect_unknown = [&] {
    EXPECT_EQ(ec, Errc::no_such_device);
    ec.clear();
  };
  const UniqueFd here = current_namespace(ec);
  for (const std::string name : {"nobody", "", "longer-than-any-name"}) {
    SCOPED_TRACE(name);
    EXPECT_FALSE(links.find(name, ec));
    expect_unknown();
    links.set_up(name, true, ec);
    expect_unknown();
    links.set_mtu(name, 1400, ec);
    expect_unknown();
    links.set_mac(name, MacAddress{}, ec);
    expect_unknown();
    links.add_address(name, prefix("10.0.0.1/24"), ec);
    expect_unknown();
    links.remove_address(name, prefix("10.0.0.1/24"), ec);
    expect_unknown();
    EXPECT_THAT(links.addresses(name, ec), IsEmpty());
    expect_unknown();
    links.add_route({prefix("10.0.0.0/8"), std::nullopt, name}, ec);
    expect_unknown();
    links.remove_route({prefix("10.0.0.0/8"), std::nullopt, name}, ec);
    expect_unknown();
    EXPECT_THAT(links.routes(name, ec), IsEmpty());
    expect_unknown();
    links.move_to_namespace(name, here.get(), ec);
    expect_unknown();
    links.remove(name, ec);
    expect_unknown();
  }
}

TEST_F(Links, UpAndDown) {
  links.set_up("tap0", true, ec);
  expect_ok();
  EXPECT_TRUE(links.find("tap0", ec)->up);
  EXPECT_THAT(ip({"link", "show", "tap0"}), HasSubstr(",UP"));
  links.set_up("tap0", false, ec);
  expect_ok();
  EXPECT_FALSE(links.find("tap0", ec)->up);
  EXPECT_FALSE(links.find("tun0", ec)->up) << "the other interface is left alone";
}

TEST_F(Links, Mtu) {
  links.set_mtu("tun0", 9000, ec);
  expect_ok();
  EXPECT_EQ(links.find("tun0", ec)->mtu, 9000U);
  links.set_mtu("tun0", 70'000, ec);
  EXPECT_EQ(ec, Errc::mtu_out_of_range);
  EXPECT_EQ(links.find("tun0", ec)->mtu, 9000U);
}

TEST_F(Links, Mac) {
  const auto mac = MacAddress::parse("02:00:00:00:00:07").value();
  links.set_mac("tap0", mac, ec);
  expect_ok();
  EXPECT_EQ(links.find("tap0", ec)->mac, mac);
  links.set_mac("tap0", MacAddress::broadcast(), ec);
  EXPECT_EQ(ec, Errc::invalid_mac_address);
  links.set_mac("tun0", mac, ec);
  EXPECT_EQ(ec, Errc::no_mac_address);
}

TEST_F(Links, AddressesOfBothFamilies) {
  EXPECT_THAT(links.addresses("tap0", ec), IsEmpty());
  expect_ok();
  links.add_address("tap0", prefix("10.77.0.1/24"), ec);
  expect_ok();
  links.add_address("tap0", prefix("10.78.0.1/32"), ec);
  expect_ok();
  links.add_address("tap0", prefix("fd00::1/64"), ec);
  expect_ok();
  EXPECT_THAT(links.addresses("tap0", ec),
              UnorderedElementsAre(prefix("10.77.0.1/24"), prefix("10.78.0.1/32"), prefix("fd00::1/64")));
  EXPECT_THAT(links.addresses("tun0", ec), IsEmpty());
  EXPECT_THAT(ip({"address", "show", "tap0"}), HasSubstr("inet 10.77.0.1/24"));
  EXPECT_THAT(ip({"address", "show", "tap0"}), HasSubstr("inet6 fd00::1/64"));

  links.add_address("tap0", prefix("10.77.0.1/24"), ec);
  EXPECT_EQ(ec, errno_code(EEXIST));
  links.add_address("tap0", prefix("fd00::1/64"), ec);
  EXPECT_EQ(ec, errno_code(EEXIST));
  links.remove_address("tap0", prefix("10.77.0.1/24"), ec);
  expect_ok();
  links.remove_address("tap0", prefix("fd00::1/64"), ec);
  expect_ok();
  EXPECT_THAT(links.addresses("tap0", ec), UnorderedElementsAre(prefix("10.78.0.1/32")));
  links.remove_address("tap0", prefix("10.77.0.1/24"), ec);
  EXPECT_EQ(ec, errno_code(EADDRNOTAVAIL));
  links.remove_address("tap0", prefix("fd00::1/64"), ec);
  EXPECT_EQ(ec, errno_code(EADDRNOTAVAIL));
}

TEST_F(Links, PointToPointAddressIsOurs) {
  ip({"address", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "tun0"});
  ip({"address", "add", "fd09::1", "peer", "fd09::2/128", "dev", "tun0"});
  EXPECT_THAT(links.addresses("tun0", ec),
              UnorderedElementsAre(prefix("10.9.0.1/32"), prefix("fd09::1/128")));
}

TEST_F(Links, Ipv6NeedsAnMtuOf1280) {
  links.set_mtu("tun0", 1279, ec);
  expect_ok();
  links.add_address("tun0", prefix("fd00::1/64"), ec);
  EXPECT_EQ(ec, Errc::mtu_too_small);
  links.add_address("tun0", prefix("10.0.0.1/24"), ec);
  expect_ok();
  links.set_mtu("tun0", 1280, ec);
  links.add_address("tun0", prefix("fd00::1/64"), ec);
  expect_ok();
}

TEST_F(Links, Routes) {
  links.set_up("tun0", true, ec);
  links.set_up("tap0", true, ec);
  links.add_address("tap0", prefix("10.77.0.1/24"), ec);
  expect_ok();
  const Route on_link{prefix("10.1.0.0/16"), std::nullopt, "tun0"};
  const Route by_gateway{prefix("10.2.0.0/16"), address("10.77.0.2"), "tap0"};
  const Route by_default{prefix("0.0.0.0/0"), address("10.77.0.2"), "tap0"};
  const Route v6_on_link{prefix("fd01::/32"), std::nullopt, "tun0"};
  const Route v6_by_gateway{prefix("fd02::/32"), address("fd01::1"), "tun0"};
  const Route v6_by_default{prefix("::/0"), address("fd01::1"), "tun0"};
  const Route v4_by_v6{prefix("10.3.0.0/16"), address("fd01::1"), "tun0"};
  const std::vector<Route> all{on_link,       by_gateway,    by_default, v6_on_link,
                               v6_by_gateway, v6_by_default, v4_by_v6};
  for (const Route& route : all) {
    links.add_route(route, ec);
    EXPECT_FALSE(ec) << to_string(route.destination) << ": " << ec.message();
    EXPECT_THAT(links.routes(route.interface, ec), Contains(route));
    links.add_route(route, ec);
    EXPECT_EQ(ec, errno_code(EEXIST)) << to_string(route.destination);
  }
  EXPECT_THAT(links.routes("tap0", ec), Not(Contains(on_link)));
  EXPECT_THAT(ip({"route"}), HasSubstr("10.1.0.0/16 dev tun0"));
  EXPECT_THAT(ip({"route"}), HasSubstr("default via 10.77.0.2 dev tap0"));
  EXPECT_THAT(ip({"-6", "route"}), HasSubstr("fd02::/32 via fd01::1 dev tun0"));
  for (auto route = all.rbegin(); route != all.rend(); ++route) {
    links.remove_route(*route, ec);
    EXPECT_FALSE(ec) << to_string(route->destination) << ": " << ec.message();
    EXPECT_THAT(links.routes(route->interface, ec), Not(Contains(*route)));
    links.remove_route(*route, ec);
    EXPECT_EQ(ec, errno_code(ESRCH)) << to_string(route->destination);
  }
}

TEST_F(Links, RemovesARouteThatSomebodyElseMade) {
  links.set_up("tun0", true, ec);
  ip({"route", "add", "10.1.0.0/16", "dev", "tun0"});
  links.remove_route({prefix("10.1.0.0/16"), std::nullopt, "tun0"}, ec);
  expect_ok();
}

TEST_F(Links, RouteOfSeveralHopsIsFoundByEachOfItsInterfaces) {
  links.set_up("tun0", true, ec);
  links.set_up("tap0", true, ec);
  links.add_address("tap0", prefix("10.77.0.1/24"), ec);
  ip({"route", "add", "10.5.0.0/16", "nexthop", "dev", "tun0", "nexthop", "via", "10.77.0.2"});
  EXPECT_THAT(links.routes("tun0", ec), Contains(Route{prefix("10.5.0.0/16"), std::nullopt, "tun0"}));
  EXPECT_THAT(links.routes("tap0", ec), Contains(Route{prefix("10.5.0.0/16"), address("10.77.0.2"), "tap0"}));
}

TEST_F(Links, RouteErrorsAreTheKernels) {
  links.set_up("tap0", true, ec);
  links.add_route({prefix("10.0.0.0/8"), address("192.0.2.1"), "tap0"}, ec);
  EXPECT_EQ(ec, errno_code(ENETUNREACH)) << "the gateway is not on the link";
  links.add_route({prefix("10.0.0.1/8"), std::nullopt, "tap0"}, ec);
  EXPECT_EQ(ec, Errc::invalid_route) << "host bits set";
  links.add_route({prefix("10.0.0.0/8"), std::nullopt, "tun0"}, ec);
  EXPECT_EQ(ec, errno_code(ENETDOWN));
}

TEST_F(Links, MovesToANamespaceAndWorksThere) {
  const UniqueFd home = current_namespace(ec);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  UniqueFd there = current_namespace(ec);
  const int there_number = there.get();
  LinuxLinks inside{std::move(there)};
  in_namespace(
      home.get(),
      [&] {
        std::error_code moved;
        links.move_to_namespace("tun0", there_number, moved);
        EXPECT_FALSE(moved) << moved.message();
        links.find("tun0", moved);
        EXPECT_EQ(moved, Errc::no_such_device);
        // From outside, through the links of the interface's namespace.
        EXPECT_TRUE(inside.find("tun0", moved)) << moved.message();
        inside.add_address("tun0", prefix("10.0.0.1/24"), moved);
        inside.set_up("tun0", true, moved);
        EXPECT_FALSE(moved) << moved.message();
        EXPECT_THAT(inside.routes("tun0", moved),
                    Contains(Route{prefix("10.0.0.0/24"), std::nullopt, "tun0"}));
      },
      ec);
  expect_ok();
  EXPECT_TRUE(links.find("tun0", ec)->up);
  EXPECT_EQ(tun.write(sandbox::make_ipv4(60)), 0) << "the descriptor moves along";
  links.move_to_namespace("tun0", STDERR_FILENO, ec);
  EXPECT_EQ(ec, Errc::not_a_namespace);
  in_namespace(
      STDERR_FILENO, [] { ADD_FAILURE() << "the function ran"; }, ec);
  EXPECT_EQ(ec, Errc::not_a_namespace);
}

TEST_F(Links, AnEmptyNamespaceIsNotTheCallers) {
  LinuxLinks nowhere{open_namespace("no-such-namespace", ec)};
  EXPECT_TRUE(ec);
  const auto expect_bad = [&](const char* call) { EXPECT_EQ(ec, errno_code(EBADF)) << call; };
  EXPECT_FALSE(nowhere.find("tun0", ec));
  expect_bad("find");
  nowhere.set_up("tun0", true, ec);
  expect_bad("set_up");
  nowhere.set_mtu("tun0", 1400, ec);
  expect_bad("set_mtu");
  nowhere.set_mac("tap0", MacAddress{{2, 0, 0, 0, 0, 1}}, ec);
  expect_bad("set_mac");
  nowhere.add_address("tun0", prefix("10.0.0.1/24"), ec);
  expect_bad("add_address");
  nowhere.remove_address("tun0", prefix("10.0.0.1/24"), ec);
  expect_bad("remove_address");
  EXPECT_THAT(nowhere.addresses("tun0", ec), IsEmpty());
  expect_bad("addresses");
  nowhere.add_route({prefix("10.1.0.0/16"), std::nullopt, "tun0"}, ec);
  expect_bad("add_route");
  nowhere.remove_route({prefix("10.1.0.0/16"), std::nullopt, "tun0"}, ec);
  expect_bad("remove_route");
  EXPECT_THAT(nowhere.routes("tun0", ec), IsEmpty());
  expect_bad("routes");
  nowhere.remove("tun0", ec);
  expect_bad("remove");
  const auto link = links.find("tun0", ec);
  ASSERT_TRUE(link) << ec.message();
  EXPECT_FALSE(link->up);
}

TEST_F(Links, Remove) {
  links.remove("tap0", ec);
  expect_ok();
  EXPECT_FALSE(links.find("tap0", ec));
  EXPECT_TRUE(links.find("tun0", ec));
}

TEST_F(Links, ChangesNeedPrivilegeAndLookingDoesNot) {
  if (!is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const UniqueFd here = current_namespace(ec);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const UniqueFd there = current_namespace(ec);
  ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  const int refused = as_user(65533, [&] {
    int count = 0;
    std::error_code result;
    const auto note = [&] { count += result == Errc::not_permitted ? 1 : 0; };
    links.set_up("tap0", true, result);
    note();
    links.set_mtu("tap0", 1400, result);
    note();
    links.add_address("tap0", prefix("10.0.0.1/24"), result);
    note();
    links.add_route({prefix("10.0.0.0/8"), std::nullopt, "tap0"}, result);
    note();
    links.remove("tap0", result);
    note();
    in_namespace(
        there.get(), [] {}, result);
    if (result != Errc::namespace_denied) return 102;
    bool ran = false;
    in_namespace(
        here.get(), [&] { ran = true; }, result);
    if (!ran || result) return 103;  // there already
    if (!links.find("tap0", result) || result) return 100;
    links.addresses("tap0", result);
    return result ? 101 : count;
  });
  EXPECT_EQ(refused, 5);
}

}  // namespace
}  // namespace tunport
