/// TUNSETIFF and its kin: names, kinds, rights, persistence.

#include <cerrno>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tunport/base/error.hpp"
#include "tunport/device/device.hpp"

#include "contract/world.hpp"

namespace tunport::contract {
namespace {

constexpr int tun = IFF_TUN | IFF_NO_PI;
constexpr int tap = IFF_TAP | IFF_NO_PI;

class Binding : public Contract {
 protected:
  int set(const UniqueFd& fd, unsigned long request, unsigned long value) {
    return io().ioctl_value(fd.get(), request, value);
  }
  int set_number(const UniqueFd& fd, unsigned long request, int value) {
    return io().ioctl(fd.get(), request, &value);
  }
  int get_number(const UniqueFd& fd, unsigned long request) {
    int value = 0;
    EXPECT_EQ(io().ioctl(fd.get(), request, &value), 0);
    return value;
  }
};
TUNPORT_IN_BOTH_WORLDS(Binding);

TEST_P(Binding, OpensOnlyWhatIsThere) {
  EXPECT_EQ(io().open("/dev/net/nothing", O_RDWR), -ENOENT);
  const UniqueFd fd = clone();
  EXPECT_EQ(io().get_flags(fd.get()) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
  EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  const UniqueFd blocking{io().open("/dev/net/tun", O_RDWR)};
  EXPECT_EQ(io().get_flags(blocking.get()) & O_NONBLOCK, 0);
  EXPECT_EQ(io().set_flags(blocking.get(), O_RDWR | O_NONBLOCK, true), 0);
  EXPECT_EQ(io().get_flags(blocking.get()) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(::fcntl(blocking.get(), F_GETFD), FD_CLOEXEC);
}

TEST_P(Binding, UnboundIsEbadfd) {
  const UniqueFd fd = clone();
  Packet packet;
  EXPECT_EQ(read(fd, packet), -EBADFD);
  EXPECT_EQ(write(fd, make_ipv4(40)), -EBADFD);
  EXPECT_EQ(flags_of(fd), -EBADFD);
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), -EBADFD);
  int size = 12;
  EXPECT_EQ(io().ioctl(fd.get(), TUNSETVNETHDRSZ, &size), -EBADFD);
  EXPECT_EQ(io().ioctl(fd.get(), TUNSETSNDBUF, &size), -EBADFD);
}

TEST_P(Binding, UnknownDescriptorIsEbadf) {
  UniqueFd fd = clone();
  const int number = fd.get();
  fd.reset();
  char byte = 0;
  EXPECT_EQ(io().read(number, &byte, 1), -EBADF);
  EXPECT_EQ(io().write(number, &byte, 1), -EBADF);
  EXPECT_EQ(io().ioctl_value(number, TUNSETPERSIST, 1), -EBADF);
  EXPECT_EQ(io().get_flags(number), -EBADF);
  EXPECT_EQ(io().set_flags(number, O_RDWR, false), -EBADF);
}

TEST_P(Binding, NamesAsGiven) {
  const UniqueFd fd = make("given", tun, false);
  const auto link = links().find("given", ec);
  ASSERT_TRUE(link && link->tunnel) << ec.message();
  EXPECT_EQ(link->tunnel->kind, DeviceKind::tun);
  EXPECT_FALSE(link->up);
  EXPECT_EQ(link->mtu, 1500U);
  EXPECT_EQ(link->mac, MacAddress{});
}

TEST_P(Binding, TemplatesTakeTheFirstFreeNumber) {
  std::vector<UniqueFd> fds;
  for (const auto* expected : {"tp0", "tp1", "tp2"}) {
    std::string name = "tp%d";
    fds.push_back(clone());
    EXPECT_EQ(bind(fds.back(), name, fds.size() == 2 ? tap : tun), 0);
    EXPECT_EQ(name, expected);
  }
  fds.erase(fds.begin());
  std::string name = "tp%d";
  const UniqueFd fd = clone();
  EXPECT_EQ(bind(fd, name, tun), 0);
  EXPECT_EQ(name, "tp0") << "free again";
}

TEST_P(Binding, NoNameIsTheKernelsChoice) {
  std::string first;
  std::string second;
  const UniqueFd one = clone();
  const UniqueFd two = clone();
  EXPECT_EQ(bind(one, first, tun), 0);
  EXPECT_EQ(bind(two, second, tap), 0);
  EXPECT_EQ(first, "tun0");
  EXPECT_EQ(second, "tap0");
}

TEST_P(Binding, InvalidNames) {
  const UniqueFd fd = clone();
  for (const auto* name : {"a/b", "a b", ".", "..", "a:b", "%d%d", "a%s", "%"})
    EXPECT_EQ(bind(fd, name, tun), -EINVAL) << name;
}

TEST_P(Binding, NeitherTunNorTapIsEinval) {
  EXPECT_EQ(bind(clone(), "tp0", 0), -EINVAL);
  EXPECT_FALSE(exists("tp0"));
}

TEST_P(Binding, OnceOnly) {
  const UniqueFd fd = make("tp0", tun);
  EXPECT_EQ(bind(fd, "tp1", tun), -EEXIST);
}

TEST_P(Binding, HeldIsEbusy) {
  const UniqueFd fd = make("tp0", tun);
  EXPECT_EQ(bind(clone(), "tp0", tun), -EBUSY);
  EXPECT_EQ(bind(clone(), "tp0", tun | IFF_TUN_EXCL), -EBUSY);
}

TEST_P(Binding, ExclusiveCreatesOnly) {
  UniqueFd fd = clone();
  EXPECT_EQ(bind(fd, "tp0", tun | IFF_TUN_EXCL), 0);
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), 0);
  fd.reset();
  EXPECT_EQ(bind(clone(), "tp0", tun | IFF_TUN_EXCL), -EBUSY);
}

TEST_P(Binding, MismatchIsEinval) {
  const UniqueFd fd = make("tp0", tun);
  EXPECT_EQ(bind(clone(), "tp0", tap), -EINVAL);
  EXPECT_EQ(bind(clone(), "tp0", tun | IFF_MULTI_QUEUE), -EINVAL);
  EXPECT_EQ(bind(clone(), "lo", tun), -EINVAL);
}

TEST_P(Binding, FlagsAreReadBack) {
  const UniqueFd fd = make("tp0", tap | IFF_VNET_HDR, false);
  EXPECT_EQ(flags_of(fd), tap | IFF_VNET_HDR | IFF_NOFILTER);
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), 0);
  EXPECT_EQ(flags_of(fd), tap | IFF_VNET_HDR | IFF_NOFILTER | IFF_PERSIST);
  const auto link = links().find("tp0", ec);
  ASSERT_TRUE(link && link->tunnel);
  EXPECT_EQ(link->tunnel->kind, DeviceKind::tap);
  EXPECT_TRUE(link->tunnel->vnet_header);
  EXPECT_FALSE(link->tunnel->packet_information);
  EXPECT_TRUE(link->tunnel->persistent);
  EXPECT_NE(link->mac, MacAddress{});
}

TEST_P(Binding, TheFirstQueueRewritesTheFlags) {
  UniqueFd fd = make("tp0", IFF_TUN | IFF_VNET_HDR, false);
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), 0);
  fd.reset();
  fd = make("tp0", tun, false);
  EXPECT_EQ(flags_of(fd), tun | IFF_NOFILTER | IFF_PERSIST);
}

TEST_P(Binding, AFurtherQueueTakesThemAsTheyAre) {
  const UniqueFd one = make("tp0", tun | IFF_MULTI_QUEUE, false);
  const UniqueFd two = make("tp0", IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE, false);
  EXPECT_EQ(flags_of(two), tun | IFF_MULTI_QUEUE | IFF_NOFILTER);
}

TEST_P(Binding, ClosingDeletesUnlessPersistent) {
  UniqueFd fd = make("tp0", tun);
  EXPECT_TRUE(exists("tp0"));
  fd.reset();
  EXPECT_FALSE(exists("tp0"));
  fd = make("tp1", tun);
  const int index = links().find("tp1", ec)->index;
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), 0);
  fd.reset();
  ASSERT_TRUE(exists("tp1"));
  fd = make("tp1", tun);
  EXPECT_EQ(links().find("tp1", ec)->index, index) << "the same interface";
  EXPECT_EQ(set(fd, TUNSETPERSIST, 0), 0);
  fd.reset();
  EXPECT_FALSE(exists("tp1"));
}

TEST_P(Binding, ADuplicateKeepsIt) {
  UniqueFd fd = make("tp0", tun);
  const UniqueFd copy{::dup(fd.get())};
  fd.reset();
  EXPECT_TRUE(exists("tp0"));
  EXPECT_EQ(flags_of(copy), tun | IFF_NOFILTER);
  EXPECT_EQ(write(copy, make_ipv4(40)), 40);
}

TEST_P(Binding, OnlyTheLastQueueEndsIt) {
  UniqueFd one = make("tp0", tun | IFF_MULTI_QUEUE);
  const UniqueFd two = make("tp0", tun | IFF_MULTI_QUEUE);
  one.reset();
  EXPECT_TRUE(exists("tp0"));
}

TEST_P(Binding, OwnerAndGroup) {
  const UniqueFd fd = make("tp0", tun, false);
  EXPECT_EQ(set(fd, TUNSETOWNER, 0), 0);
  EXPECT_EQ(set(fd, TUNSETGROUP, 0), 0);
  EXPECT_EQ(set(fd, TUNSETOWNER, ~0U), -EINVAL);
  const auto link = links().find("tp0", ec);
  EXPECT_EQ(link->tunnel->owner, 0U);
  EXPECT_EQ(link->tunnel->group, 0U);
}

// The ioctls take a number: a pointer instead would set the owner to an address, and never to 0.
TEST_P(Binding, OwnerAndGroupOfADevice) {
  Device device = Device::open(DeviceKind::tap, "tp0", {}, world());
  EXPECT_FALSE(links().find("tp0", ec)->tunnel->owner);
  EXPECT_FALSE(links().find("tp0", ec)->tunnel->group);
  device.set_owner(0, ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_EQ(links().find("tp0", ec)->tunnel->owner, 0U);
  EXPECT_FALSE(links().find("tp0", ec)->tunnel->group);
  device.set_group(0, ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_EQ(links().find("tp0", ec)->tunnel->group, 0U);
}

TEST_P(Binding, HeaderSize) {
  const UniqueFd fd = make("tp0", tun | IFF_VNET_HDR, false);
  EXPECT_EQ(get_number(fd, TUNGETVNETHDRSZ), 10);
  EXPECT_EQ(set_number(fd, TUNSETVNETHDRSZ, 9), -EINVAL);
  EXPECT_EQ(set_number(fd, TUNSETVNETHDRSZ, 12), 0);
  EXPECT_EQ(get_number(fd, TUNGETVNETHDRSZ), 12);
}

TEST_P(Binding, HeaderSizeOutlivesTheProcess) {
  UniqueFd fd = make("tp0", tun | IFF_VNET_HDR, false);
  EXPECT_EQ(set_number(fd, TUNSETVNETHDRSZ, 12), 0);
  EXPECT_EQ(set(fd, TUNSETPERSIST, 1), 0);
  fd.reset();
  fd = make("tp0", tun | IFF_VNET_HDR, false);
  EXPECT_EQ(get_number(fd, TUNGETVNETHDRSZ), 12);
}

TEST_P(Binding, SendBuffer) {
  const UniqueFd fd = make("tp0", tun, false);
  EXPECT_EQ(set_number(fd, TUNSETSNDBUF, 0), -EINVAL);
  EXPECT_EQ(set_number(fd, TUNSETSNDBUF, -1), -EINVAL);
  EXPECT_EQ(set_number(fd, TUNSETSNDBUF, 5000), 0);
  EXPECT_EQ(get_number(fd, TUNGETSNDBUF), 5000);
}

TEST_P(Binding, OffloadMasks) {
  const UniqueFd fd = make("tp0", tun | IFF_VNET_HDR, false);
  for (const unsigned mask : {0x0U, 0x1U, 0x3U, 0x7U, 0xbU, 0xfU}) EXPECT_EQ(set(fd, TUNSETOFFLOAD, mask), 0);
  for (const unsigned mask : {0x2U, 0x21U, 0x41U, 0x8000U}) EXPECT_EQ(set(fd, TUNSETOFFLOAD, mask), -EINVAL);
}

TEST_P(Binding, UnknownRequestIsEinval) { EXPECT_EQ(set_number(make("tp0", tun), 0x54ff, 0), -EINVAL); }

TEST_P(Binding, WithoutPrivilege) {
  constexpr std::uint32_t user = 4242;
  world().prepare("anyones", DeviceKind::tun, std::nullopt, std::nullopt);
  world().prepare("mine", DeviceKind::tun, user, std::nullopt);
  world().prepare("ours", DeviceKind::tun, std::nullopt, user);
  world().prepare("foreign", DeviceKind::tun, 1, std::nullopt);
  world().prepare("theirs", DeviceKind::tun, user, 1);
  const std::string path = world().clone_path();
  const auto attach = [&](std::string name) {
    return world().as_user(user, [&] {
      const UniqueFd fd{io().open(path.c_str(), O_RDWR | O_NONBLOCK)};
      return fd ? -bind(fd, name, tun) : 254;
    });
  };
  if (attach("anyones") < 0) GTEST_SKIP() << "needs root to become another user. This test was not run.";
  EXPECT_EQ(attach("anyones"), 0);
  EXPECT_EQ(attach("mine"), 0);
  EXPECT_EQ(attach("ours"), 0);
  EXPECT_EQ(attach("foreign"), EPERM);
  EXPECT_EQ(attach("theirs"), EPERM) << "owner and group must both fit";
  EXPECT_EQ(attach("new"), EPERM);
  EXPECT_FALSE(exists("new"));
}

TEST_P(Binding, DeviceByMode) {
  System system = world();
  Device device = Device::open(DeviceKind::tap, "tp0", {.mode = OpenMode::create}, system);
  EXPECT_EQ(device.name(), "tp0");
  EXPECT_EQ(device.capabilities().framing, 0U);
  const auto failure = [&](DeviceKind kind, const char* name, const DeviceOptions& options) {
    const Device none = Device::open(kind, name, options, system, ec);
    EXPECT_FALSE(none);
    return ec;
  };
  EXPECT_EQ(failure(DeviceKind::tap, "tp0", {}), Errc::device_held_here);
  EXPECT_EQ(failure(DeviceKind::tap, "tp0", {.mode = OpenMode::create}), Errc::device_exists);
  EXPECT_EQ(failure(DeviceKind::tun, "tp0", {}), Errc::wrong_kind);
  EXPECT_EQ(failure(DeviceKind::tap, "tp0", {.multi_queue = true}), Errc::multi_queue_mismatch);
  EXPECT_EQ(failure(DeviceKind::tap, "lo", {}), Errc::not_a_tunnel);
  EXPECT_EQ(failure(DeviceKind::tap, "nobody", {.mode = OpenMode::attach}), Errc::no_such_device);
  device.set_persistent(true, ec);
  EXPECT_FALSE(ec) << ec.message();
  device.close();
  device = Device::open(DeviceKind::tap, "tp0", {.mode = OpenMode::attach}, system);
  EXPECT_TRUE(device.capabilities().persistent);
  const Device adopted = Device::adopt(device.release(), {}, system);
  EXPECT_EQ(adopted.name(), "tp0");
  EXPECT_EQ(adopted.kind(), DeviceKind::tap);
}

}  // namespace
}  // namespace tunport::contract
