/// The kernel's side of a port, as its options ask, against the kernel.

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/socket.h>

#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class KernelInterface : public sandbox::KernelTest {
 protected:
  static std::string ip(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    const auto result = sandbox::run(arguments);
    EXPECT_EQ(result.status, 0) << result.output;
    return result.output;
  }
  ManualReactor reactor;
  const InterfaceOptions all{
      .addresses = {"10.0.0.1/24", "fd00::1/64"},
      .mtu = 1400,
      .mac = MacAddress{{2, 0, 0, 0, 0, 7}},
      .tx_queue_length = 4000,
      .up = true,
      .routes = {{.destination = "10.9.0.0/16"}, {.destination = "10.8.0.0/16", .gateway = "10.0.0.2"}}};
};

TEST_F(KernelInterface, IsAsAskedFromTheStart) {
  TuntapPort port{reactor, DeviceKind::tap, "tp0", {.interface = all}};
  port.start_listening();
  const std::string link = ip({"link", "show", "tp0"});
  for (const char* part : {"mtu 1400", "qlen 4000", "02:00:00:00:00:07", ",UP"})
    EXPECT_THAT(link, HasSubstr(part));
  const std::string addresses = ip({"address", "show", "tp0"});
  EXPECT_THAT(addresses, HasSubstr("inet 10.0.0.1/24 brd 10.0.0.255"));
  EXPECT_THAT(addresses, HasSubstr("inet6 fd00::1/64 scope global nodad"));
  const std::string routes = ip({"route"});
  EXPECT_THAT(routes, HasSubstr("10.9.0.0/16 dev tp0"));
  EXPECT_THAT(routes, HasSubstr("10.8.0.0/16 via 10.0.0.2 dev tp0"));
  Endpoint own{Ipv6Address{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 4242};
  sockaddr_storage storage{};
  const unsigned length = own.to_sockaddr(storage);
  const UniqueFd socket{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length), 0)
      << "an IPv6 address is not tentative";
}

TEST_F(KernelInterface, IsPutBackOnAPersistentDevice) {
  ip({"tuntap", "add", "tp0", "mode", "tap"});
  ip({"address", "add", "10.5.0.1/24", "dev", "tp0"});
  const LinkInfo before = links.find("tp0");
  {
    TuntapPort port{reactor, DeviceKind::tap, "tp0", {.interface = all}};
    port.start_listening();
    EXPECT_TRUE(links.find("tp0").up);
    ip({"link", "set", "tp0", "down"});
    ip({"link", "set", "tp0", "name", "other"});
    ip({"link", "set", "other", "up"});
  }
  const LinkInfo after = links.find("other");
  EXPECT_EQ(after.mtu, before.mtu);
  EXPECT_EQ(after.mac, before.mac);
  EXPECT_EQ(after.tx_queue_length, before.tx_queue_length);
  EXPECT_FALSE(after.up);
  EXPECT_THAT(links.addresses("other"), ::testing::ElementsAre(IpPrefix{"10.5.0.1/24"}));
  EXPECT_THAT(ip({"route"}), Not(HasSubstr("10.9.0.0")));
}

TEST_F(KernelInterface, IsTheDevicesInTheDevicesNamespace) {
  const UniqueFd there = current_namespace();
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const Device namesake = Device::open(DeviceKind::tap, "tp0");
  const std::string path = "/proc/self/fd/" + std::to_string(there.get());
  TuntapPort port{reactor, DeviceKind::tap, "tp0", {.device = {.network_namespace = path}, .interface = all}};
  port.start_listening();
  EXPECT_FALSE(links.find("tp0").up);
  EXPECT_EQ(links.find("tp0").mtu, 1500U);
  EXPECT_TRUE(links.addresses("tp0").empty());
  in_namespace(there.get(), [&] {
    EXPECT_TRUE(links.find("tp0").up);
    EXPECT_THAT(links.addresses("tp0"), Contains(IpPrefix{"10.0.0.1/24"}));
  });
}

}  // namespace
}  // namespace tunport
