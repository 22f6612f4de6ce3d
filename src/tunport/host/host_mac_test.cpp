#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/host/host.hpp"
#include "tunport/host/host_mac_internal.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/matchers.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

using namespace packets;
using namespace matchers;
using testing::ElementsAre;
using testing::IsEmpty;

bool is_local_station(const MacAddress& mac) { return (mac.octets()[0] & 3) == 2; }

TEST(DeriveMac, IsTheSameForEver) {
  EXPECT_EQ(to_string(derive_mac("10.77.0.2", "tp0", {})), "c2:bd:3d:ad:14:55");
  EXPECT_EQ(to_string(derive_mac("10.77.0.2", "", {})), "ea:62:ed:f7:1d:22");
}

TEST(DeriveMac, IsAnotherForEachAddressAndName) {
  std::set<MacAddress> all;
  std::size_t made = 0;
  for (std::uint32_t address = 0x0a4d0000; address < 0x0a4d1000; ++address)
    for (const char* name : {"tp0", "tp1", "tap0", "tap1", "vpn", ""}) {
      const MacAddress mac = derive_mac(Ipv4Address{address}, name, {});
      EXPECT_TRUE(is_local_station(mac)) << to_string(mac);
      all.insert(mac);
      ++made;
    }
  EXPECT_EQ(all.size(), made);
}

TEST(DeriveMac, IsNeverTheTakenOne) {
  const MacAddress mac = derive_mac("10.77.0.2", "tp0", {});
  const MacAddress second = derive_mac("10.77.0.2", "tp0", mac);
  EXPECT_NE(second, mac);
  EXPECT_TRUE(is_local_station(second));
  EXPECT_EQ(derive_mac("10.77.0.2", "tp0", second), mac);
}

class HostMac : public testing::Test {
 protected:
  /// The MAC address in use on `name`, as the kernel's side learns it.
  MacAddress learned(Host& host, const std::string& name) {
    TuntapPort port{clock_, name, host.ethernet(), {.system = kernel_}};
    port.start_listening();
    auto tunnel = kernel_.tunnel(port.get_host().name);
    tunnel.set_up(true);
    clock_.run_ready();
    tunnel.collect();  // the announcements
    tunnel.inject(arp_request(host_ip));
    clock_.run_ready();
    const auto answers = tunnel.collect();
    EXPECT_THAT(answers, ElementsAre(is_arp_reply(from(host.mac()))));
    return host.mac();
  }

  MemorySystem kernel_;
  ManualReactor clock_;
};

TEST_F(HostMac, FollowsTheAddressAndTheInterface) {
  Host host{{.addresses = {host_ip}}};
  EXPECT_EQ(learned(host, "tap0"), derive_mac(host_ip, "tap0", {}));
  EXPECT_EQ(learned(host, "tap1"), derive_mac(host_ip, "tap1", {}));
  EXPECT_EQ(learned(host, "tap0"), derive_mac(host_ip, "tap0", {})) << "as before";
  EXPECT_EQ(learned(host, "tp%d"), derive_mac(host_ip, "tp0", {})) << "the interface's own name";
  Host same{{.addresses = {host_ip, ip("10.0.0.9")}}};
  EXPECT_EQ(learned(same, "tap0"), derive_mac(host_ip, "tap0", {})) << "of the first address";
  Host other{{.addresses = {ip("10.0.0.9"), host_ip}}};
  EXPECT_EQ(learned(other, "tap0"), derive_mac(ip("10.0.0.9"), "tap0", {}));
}

TEST_F(HostMac, IsNotTheKernelsOwn) {
  const MacAddress derived = derive_mac(host_ip, "tap0", {});
  auto tunnel = kernel_.add_persistent(DeviceKind::tap, "tap0");
  kernel_.links().set_mac("tap0", derived);
  Host host{{.addresses = {host_ip}}};
  EXPECT_NE(learned(host, "tap0"), derived);
}

TEST_F(HostMac, IsTheOneThatWasGiven) {
  Host host{{.addresses = {host_ip}, .mac = host_mac}};
  EXPECT_EQ(host.mac(), host_mac);
  EXPECT_EQ(learned(host, "tap0"), host_mac);
}

TEST_F(HostMac, AHostWithoutAddressesOrInterfaceHasOneToo) {
  EXPECT_TRUE(is_local_station(Host{HostOptions{}}.mac()));
  EXPECT_EQ(Host{{.addresses = {host_ip}}}.mac(), derive_mac(host_ip, "", {}));
}

TEST_F(HostMac, IsAnnouncedForEachAddress) {
  Host host{{.addresses = {host_ip, ip("10.0.0.9")}}};
  TuntapPort port{clock_, "tap0", host.ethernet(), {.system = kernel_}};
  port.start_listening();
  auto tunnel = kernel_.tunnel("tap0");
  tunnel.set_up(true);
  host.announce(port);
  // RFC 5227 3: an ARP request whose sender and target are the same.
  EXPECT_THAT(
      tunnel.collect(),
      ElementsAre(
          is_arp_request(from(host.mac()), to(MacAddress::broadcast()), from("10.0.0.2"), to("10.0.0.2")),
          is_arp_request(from(host.mac()), to(MacAddress::broadcast()), from("10.0.0.9"), to("10.0.0.9"))));
  EXPECT_EQ(host.statistics().arp_announcements, 2U);
  EXPECT_EQ(port.statistics().packets_out, 2U);

  tunnel.set_up(false);
  host.announce(port);
  EXPECT_EQ(host.statistics().arp_announcements, 2U);
  EXPECT_EQ(port.statistics().drops[DropReason::link_down], 2U);
}

TEST_F(HostMac, IsAnnouncedAtTheStartWhereTheInterfaceIsUp) {
  auto tunnel = kernel_.add_persistent(DeviceKind::tap, "tap0", {.up = true});
  Host host{{.addresses = {host_ip}, .mac = host_mac}};
  TuntapPort port{clock_, "tap0", host.ethernet(), {.system = kernel_}};
  port.start_listening();
  EXPECT_THAT(tunnel.collect(),
              ElementsAre(is_arp_request(from(host_mac), from("10.0.0.2"), to("10.0.0.2"))));

  tunnel.set_up(false);
  port.stop_listening();
  clock_.run_ready();
  port.start_listening();
  EXPECT_EQ(host.statistics().arp_announcements, 1U);
  EXPECT_EQ(port.statistics().drops.total(), 0U);
}

TEST_F(HostMac, IsNotAnnouncedOnTun) {
  Host host{{.addresses = {host_ip}}};
  TuntapPort port{clock_, "tun0", host.ip(), {.system = kernel_}};
  port.start_listening();
  auto tunnel = kernel_.tunnel("tun0");
  tunnel.set_up(true);
  host.announce(port);
  EXPECT_THAT(tunnel.collect(), IsEmpty());
  EXPECT_EQ(host.statistics().arp_announcements, 0U);
  EXPECT_EQ(port.statistics().drops.total(), 0U);
}

}  // namespace
}  // namespace tunport
