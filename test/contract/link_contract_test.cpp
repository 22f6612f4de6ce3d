/// Interfaces: up and down, MTU, MAC, addresses, routes, namespaces.

#include <algorithm>
#include <cerrno>
#include <functional>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <net/if.h>

#include "tunport/base/error.hpp"
#include "tunport/device/device.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "contract/world.hpp"

namespace tunport::contract {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr int tun = IFF_TUN | IFF_NO_PI;
constexpr int tap = IFF_TAP | IFF_NO_PI;

IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

/// The errno of a call whose last argument is a std::error_code.
#define EXPECT_OK(call)               \
  do {                                \
    (call);                           \
    EXPECT_FALSE(ec) << ec.message(); \
  } while (false)
#define EXPECT_FAILS(call, error) \
  do {                            \
    (call);                       \
    EXPECT_EQ(ec, error);         \
  } while (false)

class Links : public Contract {
 protected:
  Links() : Contract{true} {}
  void SetUp() override {
    Contract::SetUp();
    if (IsSkipped()) return;
    tun_fd = make("tun0", tun, false);
    tap_fd = make("tap0", tap, false);
  }
  UniqueFd tun_fd;
  UniqueFd tap_fd;
};
TUNPORT_IN_BOTH_WORLDS(Links);

TEST_P(Links, Find) {
  const auto all = links().list(ec);
  ASSERT_FALSE(ec) << ec.message();
  EXPECT_EQ(std::ranges::count(all, "lo", &LinkInfo::name), 1);
  EXPECT_FALSE(all.front().tunnel);
  const auto loopback = links().find("lo", ec);
  ASSERT_TRUE(loopback);
  EXPECT_TRUE(loopback->up);
  EXPECT_EQ(loopback->mtu, 65536U);
  EXPECT_FALSE(loopback->tunnel);
  EXPECT_THAT(links().addresses("lo", ec), UnorderedElementsAre(prefix("127.0.0.1/8"), prefix("::1/128")));
  EXPECT_NE(links().find("tun0", ec)->index, links().find("tap0", ec)->index);
}

TEST_P(Links, UnknownName) {
  EXPECT_FAILS(links().find("nobody", ec), Errc::no_such_device);
  EXPECT_FAILS(links().set_up("nobody", true, ec), Errc::no_such_device);
  EXPECT_FAILS(links().set_mtu("nobody", 1500, ec), Errc::no_such_device);
  EXPECT_FAILS(links().addresses("nobody", ec), Errc::no_such_device);
  EXPECT_FAILS(links().add_address("nobody", prefix("10.0.0.1/24"), ec), Errc::no_such_device);
  EXPECT_FAILS(links().add_route({prefix("10.0.0.0/8"), std::nullopt, "nobody"}, ec), Errc::no_such_device);
  EXPECT_FAILS(links().remove("nobody", ec), Errc::no_such_device);
}

TEST_P(Links, UpAndDown) {
  EXPECT_OK(links().set_up("tap0", true, ec));
  EXPECT_TRUE(links().find("tap0", ec)->up);
  EXPECT_FALSE(links().find("tun0", ec)->up);
  EXPECT_OK(links().set_up("tap0", true, ec));
  EXPECT_OK(links().set_up("tap0", false, ec));
  EXPECT_FALSE(links().find("tap0", ec)->up);
}

TEST_P(Links, Mtu) {
  const auto invalid = Errc::mtu_out_of_range;
  EXPECT_FAILS(links().set_mtu("tun0", 67, ec), invalid);
  EXPECT_OK(links().set_mtu("tun0", 68, ec));
  EXPECT_OK(links().set_mtu("tun0", 65535, ec));
  EXPECT_FAILS(links().set_mtu("tun0", 65536, ec), invalid);
  EXPECT_EQ(links().find("tun0", ec)->mtu, 65535U);
  EXPECT_OK(links().set_mtu("tap0", 65521, ec));
  EXPECT_FAILS(links().set_mtu("tap0", 65522, ec), invalid);
}

TEST_P(Links, Mac) {
  const auto mac = MacAddress::parse("02:00:00:00:00:07").value();
  EXPECT_OK(links().set_mac("tap0", mac, ec));
  EXPECT_EQ(links().find("tap0", ec)->mac, mac);
  EXPECT_OK(links().set_up("tap0", true, ec));
  EXPECT_OK(links().set_mac("tap0", MacAddress::parse("02:00:00:00:00:08").value(), ec));
  EXPECT_FAILS(links().set_mac("tap0", MacAddress::broadcast(), ec), Errc::invalid_mac_address);
  EXPECT_FAILS(links().set_mac("tap0", MacAddress{}, ec), Errc::invalid_mac_address);
  EXPECT_FAILS(links().set_mac("tun0", mac, ec), Errc::no_mac_address);
}

TEST_P(Links, Addresses) {
  for (const auto* text : {"10.0.0.1/24", "fd00::1/64"}) {
    SCOPED_TRACE(text);
    EXPECT_OK(links().add_address("tun0", prefix(text), ec));
    EXPECT_FAILS(links().add_address("tun0", prefix(text), ec), errno_code(EEXIST));
    EXPECT_THAT(links().addresses("tun0", ec), ElementsAre(prefix(text)));
    EXPECT_OK(links().remove_address("tun0", prefix(text), ec));
    EXPECT_FAILS(links().remove_address("tun0", prefix(text), ec), errno_code(EADDRNOTAVAIL));
    EXPECT_THAT(links().addresses("tun0", ec), IsEmpty());
  }
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/24"), ec));
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/16"), ec));
  EXPECT_OK(links().add_address("tun0", prefix("fd00::1/64"), ec));
  EXPECT_FAILS(links().add_address("tun0", prefix("fd00::1/48"), ec), errno_code(EEXIST));
  EXPECT_FAILS(links().remove_address("tun0", prefix("fd00::1/48"), ec), errno_code(EADDRNOTAVAIL));
}

TEST_P(Links, AddressesWithAllThatTheKernelKeeps) {
  const auto added = [&](const InterfaceAddress& asked) {
    EXPECT_OK(links().add_interface_address("tun0", asked, ec));
    auto found = links().interface_addresses("tun0", ec);
    EXPECT_EQ(found.size(), 1U);
    EXPECT_OK(links().remove_address("tun0", asked.prefix, ec));
    return found.empty() ? InterfaceAddress{} : found.front();
  };
  InterfaceAddress v6{
      .prefix = prefix("fd00::1/64"), .flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE, .metric = 77};
  const InterfaceAddress found = added(v6);
  v6.flags |= IFA_F_PERMANENT;
  EXPECT_EQ(found, v6);
  const InterfaceAddress v4{.prefix = prefix("10.0.0.1/24"),
                            .broadcast = address("10.0.0.255").v4(),
                            .flags = IFA_F_PERMANENT,
                            .metric = 5};
  EXPECT_EQ(added(v4), v4);
  const auto aging =
      added({.prefix = prefix("fd00::1/64"), .valid_seconds = 4000, .preferred_seconds = 3000});
  EXPECT_EQ(aging.flags & IFA_F_PERMANENT, 0U);
  EXPECT_THAT(aging.valid_seconds, AllOf(Ge(3900U), Le(4000U)));
  EXPECT_THAT(aging.preferred_seconds, AllOf(Ge(2900U), Le(3000U)));
  const auto old = added({.prefix = prefix("fd00::1/64"), .preferred_seconds = 0});
  EXPECT_EQ(old.flags & ~std::uint32_t{IFA_F_TENTATIVE}, std::uint32_t{IFA_F_PERMANENT | IFA_F_DEPRECATED});
  EXPECT_FAILS(
      links().add_interface_address("tun0", {.prefix = prefix("fd00::1/64"), .valid_seconds = 0}, ec),
      errno_code(EINVAL));
}

TEST_P(Links, AnAddressWithAPeer) {
  const std::pair<IpPrefix, IpAddress> table[] = {{prefix("10.0.0.1/32"), address("10.0.0.2")},
                                                  {prefix("fd00::1/128"), address("fd00::2")}};
  for (const auto& [own, peer] : table) {
    EXPECT_OK(links().add_interface_address("tun0", {.prefix = own, .peer = peer}, ec));
    const auto found = links().interface_addresses("tun0", ec);
    const auto mine = std::ranges::find(found, own, &InterfaceAddress::prefix);
    ASSERT_NE(mine, found.end());
    EXPECT_EQ(mine->peer, peer);
  }
}

TEST_P(Links, Ipv6NeedsItsMtu) {
  EXPECT_OK(links().add_address("tun0", prefix("fd00::1/64"), ec));
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/24"), ec));
  EXPECT_OK(links().set_mtu("tun0", 1279, ec));
  EXPECT_THAT(links().addresses("tun0", ec), ElementsAre(prefix("10.0.0.1/24")));
  EXPECT_FAILS(links().add_address("tun0", prefix("fd00::2/64"), ec), Errc::mtu_too_small);
  EXPECT_OK(links().set_mtu("tun0", 1280, ec));
  EXPECT_OK(links().add_address("tun0", prefix("fd00::2/64"), ec));
}

TEST_P(Links, DownTakesIpv6AddressesAndRoutes) {
  EXPECT_OK(links().set_up("tun0", true, ec));
  EXPECT_OK(links().add_address("tun0", prefix("fd00::1/64"), ec));
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/24"), ec));
  EXPECT_OK(links().add_route({prefix("10.9.0.0/16"), std::nullopt, "tun0"}, ec));
  EXPECT_OK(links().set_up("tun0", false, ec));
  EXPECT_THAT(links().addresses("tun0", ec), ElementsAre(prefix("10.0.0.1/24")));
  EXPECT_THAT(links().routes("tun0", ec), IsEmpty());
  EXPECT_OK(links().set_up("tun0", true, ec));
  EXPECT_THAT(links().routes("tun0", ec), Contains(Route{prefix("10.0.0.0/24"), std::nullopt, "tun0"}));
  EXPECT_THAT(links().routes("tun0", ec), Not(Contains(Route{prefix("10.9.0.0/16"), std::nullopt, "tun0"})));
}

TEST_P(Links, Routes) {
  const Route on_link{prefix("10.9.0.0/16"), std::nullopt, "tun0"};
  EXPECT_FAILS(links().add_route(on_link, ec), errno_code(ENETDOWN));
  EXPECT_OK(links().set_up("tun0", true, ec));
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/24"), ec));
  EXPECT_OK(links().add_route(on_link, ec));
  EXPECT_FAILS(links().add_route(on_link, ec), errno_code(EEXIST));
  EXPECT_FAILS(links().add_route({prefix("10.0.0.0/24"), std::nullopt, "tun0"}, ec), errno_code(EEXIST));
  const Route by_gateway{prefix("0.0.0.0/0"), address("10.0.0.2"), "tun0"};
  EXPECT_OK(links().add_route(by_gateway, ec));
  const Route astray{prefix("10.8.0.0/16"), address("11.0.0.2"), "tun0"};
  EXPECT_FAILS(links().add_route(astray, ec), errno_code(ENETUNREACH));
  EXPECT_FAILS(links().add_route({prefix("10.9.0.1/16"), std::nullopt, "tun0"}, ec), Errc::invalid_route);
  auto found = links().routes("tun0", ec);
  // The kernel has made an IPv6 link-local address unasked.
  std::erase_if(found, [](const Route& route) { return route.destination.address.is_v6(); });
  EXPECT_THAT(found,
              UnorderedElementsAre(Route{prefix("10.0.0.0/24"), std::nullopt, "tun0"}, on_link, by_gateway));
  EXPECT_THAT(links().routes("tap0", ec), IsEmpty());
  EXPECT_OK(links().remove_route(on_link, ec));
  EXPECT_FAILS(links().remove_route(on_link, ec), errno_code(ESRCH));
}

TEST_P(Links, EachCallHasAThrowingForm) {
  links().set_up("tap0", true);
  links().set_mtu("tap0", 1400);
  links().set_mac("tap0", MacAddress{{2, 0, 0, 0, 0, 7}});
  EXPECT_EQ(links().find("tap0").mtu, 1400U);
  links().add_address("tap0", prefix("10.0.0.1/24"));
  EXPECT_THAT(links().addresses("tap0"), Contains(prefix("10.0.0.1/24")));
  const Route route{prefix("10.9.0.0/16"), std::nullopt, "tap0"};
  links().add_route(route);
  EXPECT_THAT(links().routes("tap0"), Contains(route));
  links().remove_route(route);
  links().remove_address("tap0", prefix("10.0.0.1/24"));
  links().remove("tap0");
  const UniqueFd here = current_namespace();
  const std::function<void()> failing[] = {
      [&] { links().find("tap0"); },
      [&] { links().set_up("tap0", true); },
      [&] { links().set_mtu("tap0", 1400); },
      [&] {
        links().set_mac("tap0", MacAddress{{2, 0, 0, 0, 0, 7}});
      },
      [&] { links().add_address("tap0", prefix("10.0.0.1/24")); },
      [&] { links().remove_address("tap0", prefix("10.0.0.1/24")); },
      [&] { links().addresses("tap0"); },
      [&] { links().add_route(route); },
      [&] { links().remove_route(route); },
      [&] { links().routes("tap0"); },
      [&] { links().move_to_namespace("tap0", here.get()); },
      [&] { links().remove("tap0"); },
  };
  for (const auto& call : failing) try {
      call();
      ADD_FAILURE() << &call - failing;
    } catch (const Error& error) {
      EXPECT_EQ(error.subject().substr(0, 4), "tap0");
      EXPECT_EQ(error.code(), Errc::no_such_device);
    }
}

TEST_P(Links, AnAddressOrRouteThatIsThereIsNamed) {
  links().set_up("tap0", true);
  const auto subject_of_second = [](const std::function<void()>& call) -> std::string {
    call();
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), std::errc::file_exists);
      return error.subject();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(subject_of_second([&] { links().add_address("tap0", prefix("10.0.0.1/24")); }),
            "tap0: address 10.0.0.1/24");
  EXPECT_EQ(subject_of_second([&] {
              links().add_route({prefix("10.9.0.0/16"), std::nullopt, "tap0"});
            }),
            "tap0: route 10.9.0.0/16");
}

TEST_P(Links, TxQueueLength) {
  EXPECT_OK(links().set_tx_queue_length("tap0", 4000, ec));
  EXPECT_EQ(links().find("tap0").tx_queue_length, 4000U);
  EXPECT_FAILS(links().set_tx_queue_length("nobody", 4000, ec), Errc::no_such_device);
}

TEST_P(Links, ADevicesLinkIsItsOwnAlsoBesideANamesake) {
  Device device = Device::adopt(std::move(tun_fd), {}, world());
  UniqueFd there;
  if (GetParam() == WorldKind::kernel) {
    const UniqueFd here = current_namespace(ec);
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    there = current_namespace(ec);
    ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  } else {
    there = UniqueFd{::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  }
  const Link before = device.link();
  before.set_mtu(1400);
  EXPECT_EQ(links().find("tun0").mtu, 1400U);
  EXPECT_OK(links().move_to_namespace("tun0", there.get(), ec));
  const UniqueFd namesake = make("tun0", tun, false);
  EXPECT_FAILS(before.set_up(true, ec), Errc::no_such_device);
  const Link link = device.link();
  link.set_up(true);
  link.add_address(prefix("10.0.0.1/24"));
  link.add_route({.destination = prefix("10.9.0.0/16")});
  EXPECT_TRUE(link.info().up);
  EXPECT_THAT(link.routes(), Contains(Route{prefix("10.9.0.0/16"), std::nullopt, "tun0"}));
  EXPECT_EQ(device.write(make_ipv4(40)), 0);
  EXPECT_FALSE(links().find("tun0").up);
  EXPECT_THAT(links().addresses("tun0"), IsEmpty());
  EXPECT_THAT(links().routes("tun0"), IsEmpty());
  const Device again = device.opener()("tun1", {}, ec);
  EXPECT_TRUE(again) << ec.message();
  EXPECT_FALSE(exists("tun1")) << "opened beside the device";
  EXPECT_EQ(again.link().info().name, "tun1");
  EXPECT_OK(link.remove(ec));
  EXPECT_TRUE(device.is_gone());
  EXPECT_FAILS(device.link(ec), Errc::device_gone);
  EXPECT_TRUE(exists("tun0"));
}

TEST_P(Links, Remove) {
  EXPECT_OK(links().remove("tun0", ec));
  EXPECT_FALSE(exists("tun0"));
  EXPECT_TRUE(exists("tap0"));
  EXPECT_FAILS(links().remove("lo", ec), errno_code(EOPNOTSUPP));
}

TEST_P(Links, MoveToNamespace) {
  EXPECT_OK(links().set_up("tun0", true, ec));
  EXPECT_OK(links().add_address("tun0", prefix("10.0.0.1/24"), ec));
  UniqueFd there;
  if (GetParam() == WorldKind::kernel) {
    const UniqueFd here = current_namespace(ec);
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    there = current_namespace(ec);
    ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  } else {
    there = UniqueFd{::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  }
  EXPECT_OK(links().move_to_namespace("tun0", there.get(), ec));
  EXPECT_FALSE(exists("tun0"));
  EXPECT_EQ(write(tun_fd, make_ipv4(40)), -EIO) << "the descriptor stays, the interface is down there";
  EXPECT_EQ(flags_of(tun_fd), tun | IFF_NOFILTER);
  const UniqueFd next = make("tun0", tun);
  EXPECT_EQ(write(next, make_ipv4(40)), 40) << "the name is free here";
  EXPECT_FAILS(links().move_to_namespace("tap0", -1, ec), errno_code(EBADF));
}

TEST_P(Links, WithoutPrivilege) {
  const auto attempt = [&](const std::function<void()>& call) {
    return world().as_user(4242, [&] {
      call();
      return ec == Errc::not_permitted ? 1 : ec == Errc::no_such_device ? 2 : ec ? 3 : 0;
    });
  };
  const int found = attempt([&] { links().find("tun0", ec); });
  if (found < 0) GTEST_SKIP() << "needs root to become another user. This test was not run.";
  EXPECT_EQ(found, 0) << "looking is free";
  EXPECT_EQ(attempt([&] { links().addresses("tun0", ec); }), 0);
  EXPECT_EQ(attempt([&] { links().routes("tun0", ec); }), 0);
  EXPECT_EQ(attempt([&] { links().set_up("tun0", true, ec); }), 1);
  EXPECT_EQ(attempt([&] { links().set_mtu("tun0", 1400, ec); }), 1);
  EXPECT_EQ(attempt([&] { links().add_address("tun0", prefix("10.0.0.1/24"), ec); }), 1);
  EXPECT_EQ(attempt([&] { links().add_route({prefix("10.9.0.0/16"), std::nullopt, "tun0"}, ec); }), 1);
  EXPECT_EQ(attempt([&] { links().remove("tun0", ec); }), 1);
  EXPECT_EQ(attempt([&] { links().remove("nobody", ec); }), 1) << "before the look-up";
  EXPECT_EQ(attempt([&] { links().add_address("nobody", prefix("10.0.0.1/24"), ec); }), 2);
}

}  // namespace
}  // namespace tunport::contract
