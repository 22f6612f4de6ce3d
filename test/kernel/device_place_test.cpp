/// Devices of other namespaces, renamed devices, and devices of another driver.

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/device/device.hpp"
#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

using ::testing::HasSubstr;

class DevicePlace : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    there = current_namespace();
    path = "/proc/self/fd/" + std::to_string(there.get());
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  }
  LinkInfo found_there(const std::string& name) const {
    LinkInfo link;
    in_namespace(there.get(), [&] { link = LinuxLinks{}.find(name); });
    return link;
  }
  bool is_here(const std::string& name) {
    std::error_code unknown;
    return links.find(name, unknown).has_value();
  }
  Device open_there(const DeviceOptions& options = {}) const {
    DeviceOptions inside = options;
    inside.network_namespace = path;
    return Device::open(DeviceKind::tun, "tp0", inside);
  }
  static void ip(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "ip");
    const auto result = sandbox::run(arguments);
    EXPECT_EQ(result.status, 0) << result.output;
  }
  /// A descriptor of a device in the other namespace, without packet information.
  UniqueFd descriptor_there() const { return open_there().release(); }

  UniqueFd there;  ///< a namespace other than the test's
  std::string path;
};

TEST_F(DevicePlace, TheLinkIsThatOfTheDevicesNamespace) {
  const Device namesake = Device::open(DeviceKind::tun, "tp0");
  const Device device = open_there();
  const Link link = device.link();
  EXPECT_EQ(link.name(), "tp0");
  link.set_mtu(1400);
  link.add_address("10.0.0.1/24");
  link.set_tx_queue_length(77);
  link.set_up(true);
  link.add_route({.destination = "10.9.0.0/16"});
  const LinkInfo info = link.info();
  EXPECT_EQ(info.index, found_there("tp0").index);
  EXPECT_EQ(info.mtu, 1400U);
  EXPECT_EQ(info.tx_queue_length, 77U);
  EXPECT_TRUE(info.up);
  EXPECT_THAT(link.routes(), ::testing::Contains(Route{"10.9.0.0/16", std::nullopt, "tp0"}));
  EXPECT_THAT(link.addresses(), ::testing::Contains(IpPrefix{"10.0.0.1/24"}));
  const LinkInfo untouched = links.find("tp0");
  EXPECT_EQ(untouched.mtu, 1500U);
  EXPECT_EQ(untouched.tx_queue_length, default_tx_queue_length);
  EXPECT_FALSE(untouched.up);
  EXPECT_TRUE(links.addresses("tp0").empty());
  link.remove();
  EXPECT_TRUE(device.is_gone());
  EXPECT_TRUE(is_here("tp0"));
}

TEST_F(DevicePlace, TheLinkOfAPortIsToo) {
  const Device namesake = Device::open(DeviceKind::tap, "tp0");
  ManualReactor reactor;
  TuntapPort port{reactor, DeviceKind::tap, "tp0", {.device = {.network_namespace = path}}};
  port.start_listening();
  port.device().link().set_up(true);
  EXPECT_TRUE(found_there("tp0").up);
  EXPECT_FALSE(links.find("tp0").up);
}

TEST_F(DevicePlace, ARenameLeadsToNoStranger) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  const Link before = device.link();
  ip({"link", "set", "tp0", "name", "other"});
  const Device stranger = Device::open(DeviceKind::tun, "tp0");
  before.set_mtu(1300);
  device.link().set_up(true);
  EXPECT_EQ(device.link().name(), "other");
  EXPECT_EQ(links.find("other").mtu, 1300U);
  EXPECT_TRUE(links.find("other").up);
  EXPECT_EQ(links.find("tp0").mtu, 1500U);
  EXPECT_FALSE(links.find("tp0").up);
}

TEST_F(DevicePlace, ADeviceThatMovedIsFoundWhereItIs) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  const Link before = device.link();
  links.move_to_namespace("tp0", there.get());
  const Device stranger = Device::open(DeviceKind::tun, "tp0");
  before.set_up(true, ec);
  EXPECT_EQ(ec, Errc::no_such_device);
  EXPECT_FALSE(links.find("tp0").up);
  device.link().set_up(true);
  EXPECT_TRUE(found_there("tp0").up);
}

TEST_F(DevicePlace, AGoneDeviceHasNoLink) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  const Link link = device.link();
  links.remove("tp0");
  EXPECT_FALSE(device.link(ec));
  EXPECT_EQ(ec, Errc::device_gone);
  link.set_up(true, ec);
  EXPECT_EQ(ec, Errc::no_such_device);
}

TEST_F(DevicePlace, AnAdoptedDeviceHasItsOwnFramingNotThatOfANamesake) {
  const Device namesake = Device::open(DeviceKind::tun, "tp0", {.packet_information = true});
  EXPECT_EQ(Device::adopt(descriptor_there()).capabilities().framing, 0U);
  UniqueFd informed = open_there({.packet_information = true}).release();
  EXPECT_EQ(Device::adopt(std::move(informed)).capabilities().framing, 4U);
}

TEST_F(DevicePlace, StatedPacketInformationMustAgreeWithWhatIsSeen) {
  const auto adopt = [&](bool has, bool stated) {
    UniqueFd fd = open_there({.packet_information = has}).release();
    return Device::adopt(std::move(fd), {.packet_information = stated}, linux_system(), ec);
  };
  EXPECT_EQ(adopt(true, true).capabilities().framing, 4U);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_EQ(adopt(false, false).capabilities().framing, 0U);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_FALSE(adopt(true, false));
  EXPECT_EQ(ec, Errc::packet_information_mismatch);
  EXPECT_FALSE(adopt(false, true));
  EXPECT_EQ(ec, Errc::packet_information_mismatch);
}

/// A process without netlink: each call for interfaces fails.
class NoNetlink : public sandbox::KernelTest {
 protected:
  LinuxLinks nowhere{UniqueFd{}};
};

/// Fails the test at a request for a device's namespace, the first step to a link by netlink.
class NoLinks final : public sandbox::ForwardingIo {
 public:
  int ioctl(int fd, unsigned long request, void* argument) override {
    EXPECT_NE(request, TUNGETDEVNETNS) << "the device's namespace was asked for";
    return ForwardingIo::ioctl(fd, request, argument);
  }
};

TEST_F(NoNetlink, AdoptsByTheCallersWord) {
  NoLinks io;
  const System system{io, nowhere};
  for (const bool information : {false, true}) {
    Device device = Device::open(DeviceKind::tun, "tp0", {.packet_information = information});
    device =
        Device::adopt(device.release(), {.packet_information = information, .netlink = false}, system, ec);
    EXPECT_TRUE(device) << ec.message();
    EXPECT_EQ(device.capabilities().framing, information ? 4U : 0U);
  }
}

TEST_F(NoNetlink, AttachesToWhatIsThere) {
  Device device = Device::open(DeviceKind::tun, "tp0");
  device.set_persistent(true);
  device.close();
  NoLinks io;
  const System system{io, nowhere};
  const DeviceOptions attaching{.mode = OpenMode::attach, .packet_information = true, .netlink = false};
  device = Device::open(DeviceKind::tun, "tp0", attaching, system, ec);
  EXPECT_TRUE(device) << ec.message();
  EXPECT_EQ(device.capabilities().framing, 4U);
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp1", attaching, system, ec));
  EXPECT_EQ(ec, Errc::no_such_device);
  EXPECT_FALSE(links.find("tp1", ec)) << "was made";
}

// --- restarts ---

TEST_F(DevicePlace, ARestartOfAnAdoptedDeviceOpensItWhereItWas) {
  ManualReactor reactor;
  struct Ignoring final : IpPacketProtocol {
    void frame_received(const Packet&) override {}
  } protocol;
  TuntapPort port{reactor, Device::adopt(descriptor_there()), protocol};
  const Device namesake = Device::open(DeviceKind::tun, "tp0");
  port.start_listening();
  port.stop_listening();
  reactor.run_ready();
  port.start_listening();
  EXPECT_TRUE(port.listening());
  EXPECT_TRUE(found_there("tp0").tunnel);
  EXPECT_EQ(port.device().link().info().index, found_there("tp0").index);
}

// --- without privilege ---

TEST_F(DevicePlace, AnUnprivilegedProcessLooksAndChangesNothing) {
  if (!sandbox::is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const Device device = Device::open(DeviceKind::tun, "tp0");
  const int result = sandbox::as_user(65533, [&] {
    std::error_code failed;
    const Link link = device.link(failed);
    if (failed || !link) return 1;
    if (link.info(failed).name != "tp0" || failed) return 2;
    link.set_up(true, failed);
    return failed == Errc::not_permitted ? 0 : 3;
  });
  EXPECT_EQ(result, 0);
}

TEST_F(DevicePlace, RootOfItsOwnNamespaceIsNotLedToANamesakeThere) {
  if (!sandbox::is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const Device device = Device::open(DeviceKind::tun, "tp0", {.packet_information = true});
  const int result = sandbox::as_user(65533, [&] {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return 9;
    std::error_code failed;
    if (device.link(failed) || failed != Errc::namespace_denied) return 1;
    Device::adopt(UniqueFd{::dup(device.fileno())}, {}, linux_system(), failed);
    if (failed != Errc::namespace_denied) return 2;
    const Device stated =
        Device::adopt(UniqueFd{::dup(device.fileno())}, {.packet_information = true}, linux_system(), failed);
    return stated && stated.capabilities().framing == 4 ? 0 : 3;
  });
  if (result == 9) GTEST_SKIP() << "user namespaces are switched off. This test was not run.";
  EXPECT_EQ(result, 0);
}

// --- holders ---

TEST_F(DevicePlace, ASecondQueueInThisProcessIsToldSo) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::device_held_here);
  EXPECT_EQ(ec.message().find("another process"), std::string::npos) << ec.message();
  EXPECT_THAT(ec.message(), HasSubstr("multi_queue"));
}

TEST_F(DevicePlace, ANamesakeElsewhereIsNoHolder) {
  const Device namesake = open_there();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd ready{ends[0]};
  UniqueFd said{ends[1]};
  const pid_t holder = ::fork();
  if (holder == 0) {
    std::error_code failed;
    const Device device = Device::open(DeviceKind::tun, "tp0", {}, linux_system(), failed);
    const char answer = failed ? 'n' : 'y';
    if (::write(said.get(), &answer, 1) == 1) ::sleep(20);
    ::_exit(0);
  }
  ASSERT_GT(holder, 0);
  char answer = 0;
  EXPECT_TRUE(sandbox::wait_readable(ready.get()));
  EXPECT_EQ(::read(ready.get(), &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::device_busy);
  ::kill(holder, SIGKILL);
  EXPECT_EQ(::waitpid(holder, nullptr, 0), holder);
}

// --- macvtap ---

/// The character device of the namespace's only macvtap; empty without a macvtap.
UniqueFd open_macvtap() {
  unsigned major_number = 0;
  std::FILE* const devices = std::fopen("/proc/devices", "re");
  char line[128];
  while (devices != nullptr && std::fgets(line, sizeof line, devices) != nullptr) {
    char name[64] = "";
    unsigned number = 0;
    if (std::sscanf(line, "%u %63s", &number, name) == 2 && std::strcmp(name, "macvtap") == 0)
      major_number = number;
  }
  if (devices != nullptr) std::fclose(devices);
  char directory[] = "/tmp/tunport-XXXXXX";
  UniqueFd fd;
  if (major_number == 0 || ::mkdtemp(directory) == nullptr) return fd;
  const std::string node = std::string{directory} + "/tap";
  for (unsigned number = 0; number < 256 && !fd; ++number) {
    if (::mknod(node.c_str(), S_IFCHR | 0600, makedev(major_number, number)) != 0) break;
    fd.reset(::open(node.c_str(), O_RDWR | O_CLOEXEC));
    ::unlink(node.c_str());
  }
  ::rmdir(directory);
  return fd;
}

TEST_F(DevicePlace, AMacvtapIsRefusedWithAWord) {
  if (!sandbox::is_real_root()) GTEST_SKIP() << "needs root, to make a device node. This test was not run.";
  if (sandbox::run({"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"}).status != 0 ||
      sandbox::run({"ip", "link", "add", "link", "v0", "name", "mt0", "type", "macvtap"}).status != 0)
    GTEST_SKIP() << "the kernel has no macvtap or no veth. This test was not run.";
  UniqueFd fd = open_macvtap();
  ASSERT_TRUE(fd) << std::strerror(errno);
  ifreq bound{};
  EXPECT_EQ(::ioctl(fd.get(), TUNGETIFF, &bound), 0) << "it looks like a TAP";
  EXPECT_FALSE(Device::adopt(std::move(fd), {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::not_tun_driver);
  EXPECT_THAT(ec.message(), HasSubstr("macvtap"));
}

}  // namespace
}  // namespace tunport
