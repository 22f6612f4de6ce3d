// The kernel's side of a port: set up at the start, put back at the end where the device stays.
#include <fcntl.h>
#include <linux/if_addr.h>

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PortInterface : public PortTest {
 protected:
  PortOptions with(InterfaceOptions interface) {
    return {.interface = std::move(interface), .system = kernel};
  }
  LinkInfo link() { return kernel.links().find("tap0"); }
  /// The message of the start that fails; no device may be left behind.
  std::string refusal_of(InterfaceOptions interface) {
    std::string message = "not refused";
    try {
      make(with(std::move(interface))).start_listening();
    } catch (const CannotListenError& error) {
      message = error.what();
    }
    EXPECT_FALSE(kernel.links().find("tap0", ec)) << message;
    return message;
  }

  std::error_code ec;
  const InterfaceOptions all_{
      .addresses = {"10.0.0.1/24", "fd00::1/64"},
      .mtu = 1400,
      .mac = MacAddress{{2, 0, 0, 0, 0, 7}},
      .tx_queue_length = 4000,
      .up = true,
      .routes = {{.destination = "10.9.0.0/16"}, {.destination = "10.8.0.0/16", .gateway = "10.0.0.2"}}};
};

TEST_F(PortInterface, IsSetUpAsAsked) {
  make(with(all_)).start_listening();
  const LinkInfo now = link();
  EXPECT_EQ(now.mtu, 1400U);
  EXPECT_EQ(now.mac, all_.mac);
  EXPECT_EQ(now.tx_queue_length, 4000U);
  EXPECT_TRUE(now.up);
  EXPECT_THAT(kernel.links().addresses("tap0"), ElementsAre(all_.addresses[0], all_.addresses[1]));
  const auto routes = kernel.links().routes("tap0");
  for (Route route : all_.routes) {
    route.interface = "tap0";
    EXPECT_THAT(routes, ::testing::Contains(route));
  }
  const auto addresses = port->device().link().interface_addresses(ec);
  ASSERT_EQ(addresses.size(), 2U);
  EXPECT_EQ(addresses[0].broadcast, Ipv4Address{"10.0.0.255"});
  EXPECT_NE(addresses[1].flags & IFA_F_NODAD, 0U);
}

TEST_F(PortInterface, IsPutBackWhereTheDeviceStays) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  kernel.links().add_address("tap0", IpPrefix{"10.5.0.1/24"});
  const LinkInfo before = link();
  make(with(all_)).start_listening();
  EXPECT_TRUE(link().up);
  port->stop_listening();
  clock.run_ready();
  const LinkInfo after = link();
  EXPECT_EQ(after.mtu, before.mtu);
  EXPECT_EQ(after.mac, before.mac);
  EXPECT_EQ(after.tx_queue_length, before.tx_queue_length);
  EXPECT_FALSE(after.up);
  EXPECT_THAT(kernel.links().addresses("tap0"), ElementsAre(IpPrefix{"10.5.0.1/24"}));
}

TEST_F(PortInterface, WhatCannotBePutBackIsLogged) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  std::string said;
  set_log_sink([&](LogLevel, std::string_view, std::string_view what) { said = what; });
  make(with({.mtu = 1400})).start_listening();
  kernel.set_privileged(false);
  port->stop_listening();
  clock.run_ready();
  EXPECT_THAT(said, HasSubstr("the interface could not be put back as it was: "));
}

TEST_F(PortInterface, OfAnAdoptedDeviceIsPutBackToo) {
  Device device = Device::open(DeviceKind::tap, "tap0", {}, kernel);
  const UniqueFd copy{::fcntl(device.fileno(), F_DUPFD_CLOEXEC, 0)};
  {
    TuntapPort on_it{clock, std::move(device), protocol, with(all_)};
    on_it.start_listening();
    EXPECT_TRUE(link().up);
  }
  EXPECT_FALSE(link().up);
  EXPECT_THAT(kernel.links().addresses("tap0"), IsEmpty());
}

TEST_F(PortInterface, OfADeviceThatWasDeletedIsForgotten) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  make(with(all_)).start_listening();
  interface().remove();
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(Errc::device_gone));
  kernel.add_persistent(DeviceKind::tap, "tap0", {.up = true});
  port.reset();
  EXPECT_TRUE(link().up) << "another device";
}

TEST_F(PortInterface, WrongValuesAreRefusedBeforeAnyEffect) {
  EXPECT_THAT(refusal_of({.addresses = {"10.0.0.0/24"}}),
              HasSubstr("tap0: address 10.0.0.0/24: not an address that an interface can have; "));
  EXPECT_THAT(refusal_of({.addresses = {"10.0.0.255/24"}}), HasSubstr("address 10.0.0.255/24: "));
  EXPECT_THAT(refusal_of({.addresses = {"224.0.0.1/4"}}), HasSubstr("address 224.0.0.1/4: "));
  EXPECT_THAT(refusal_of({.addresses = {"::/64"}}), HasSubstr("address ::/64: "));
  EXPECT_THAT(refusal_of({.mtu = 67}), HasSubstr("tap0: MTU 67: the interface cannot have this MTU; "));
  EXPECT_THAT(refusal_of({.mtu = 65'522}), HasSubstr("tap0: MTU 65522: "));
  EXPECT_THAT(refusal_of({.addresses = {"fd00::1/64"}, .mtu = 1279}), HasSubstr("IPv6 needs an MTU"));
  EXPECT_THAT(refusal_of({.mac = MacAddress::broadcast()}),
              HasSubstr("MAC address ff:ff:ff:ff:ff:ff: not a MAC"));
  EXPECT_THAT(refusal_of({.routes = {{.destination = "10.0.0.1/8"}}}),
              HasSubstr("route 10.0.0.1/8: not a route"));
  EXPECT_THAT(refusal_of({.routes = {{.destination = "fd00::/8", .gateway = "10.0.0.1"}}}),
              HasSubstr("route fd00::/8: not a route"));
  for (const auto& message : {refusal_of({.mtu = 0}), refusal_of({.addresses = {"127.0.0.1/8"}})})
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  TuntapPort on_tun{clock, DeviceKind::tun, "tun0", protocol, with({.mac = all_.mac})};
  on_tun.start_listening(ec);
  EXPECT_EQ(ec, Errc::no_mac_address);
}

TEST_F(PortInterface, ARefusalOfTheKernelNamesItsPartAndLeavesNothing) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  make(with({.mtu = 1400, .up = true, .routes = {{.destination = "10.8.0.0/16", .gateway = "10.0.0.2"}}}));
  try {
    port->start_listening();
    ADD_FAILURE() << "the gateway is nowhere";
  } catch (const CannotListenError& error) {
    EXPECT_THAT(error.what(), HasSubstr("tap0: route 10.8.0.0/16: Network is unreachable; "));
  }
  EXPECT_FALSE(port->listening());
  EXPECT_EQ(link().mtu, 1500U);
  EXPECT_FALSE(link().up);
}

TEST_F(PortInterface, NeedsNoPrivilegeForWhatIsAsAsked) {
  kernel.add_persistent(DeviceKind::tap, "tap0", {.up = true});
  kernel.links().add_address("tap0", IpPrefix{"10.0.0.1/24"});
  kernel.set_privileged(false);
  make(with({.addresses = {"10.0.0.1/24"}, .mtu = 1500, .up = true})).start_listening();
  EXPECT_TRUE(port->listening());
  port->stop_listening();
  clock.run_ready();
  EXPECT_TRUE(link().up);
  make(with({.mtu = 1400}));
  port->start_listening(ec);
  EXPECT_EQ(ec, Errc::not_permitted);
}

TEST_F(PortInterface, IsLeftAsItIsWhenTheDeviceIsHandedOver) {
  make(with(all_)).start_listening();
  const Device device = port->release_device();
  clock.run_ready();
  EXPECT_TRUE(link().up);
  EXPECT_EQ(link().mtu, 1400U);
}

}  // namespace
}  // namespace tunport
