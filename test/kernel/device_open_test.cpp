#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/device/device.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

using sandbox::as_user;
using sandbox::is_real_root;
using sandbox::open_descriptors;
using sandbox::PublicCloneDevice;

constexpr uid_t other_user = 65533;

class DeviceOpen : public sandbox::KernelTest {
 protected:
  /// The error of opening; no descriptor and no interface may stay behind.
  std::error_code error_of(DeviceKind kind, const std::string& name, const DeviceOptions& options = {}) {
    const std::size_t before = open_descriptors();
    std::error_code result;
    EXPECT_FALSE(Device::open(kind, name, options, linux_system(), result));
    EXPECT_EQ(open_descriptors(), before);
    return result;
  }
  bool is_there(const std::string& name) {
    std::error_code unknown;
    return links.find(name, unknown).has_value();
  }
  /// Leaves a persistent device without a holder.
  void prepare(DeviceKind kind, const std::string& name, const DeviceOptions& options = {}) {
    Device device = Device::open(kind, name, options);
    device.set_persistent(true, ec);
    ASSERT_FALSE(ec) << ec.message();
    EXPECT_TRUE(device.capabilities().persistent);
  }
};

const DeviceOptions creating{.mode = OpenMode::create};
const DeviceOptions attaching{.mode = OpenMode::attach};

TEST_F(DeviceOpen, ByName) {
  const Device device = Device::open(DeviceKind::tap, "tp0");
  EXPECT_EQ(device.name(), "tp0");
  EXPECT_EQ(device.kind(), DeviceKind::tap);
  EXPECT_EQ(device.capabilities().framing, 0U);
  const auto link = links.find("tp0", ec);
  ASSERT_TRUE(link) << ec.message();
  ASSERT_TRUE(link->tunnel);
  EXPECT_EQ(link->tunnel->kind, DeviceKind::tap);
  EXPECT_FALSE(link->up) << "not asked for";
  EXPECT_TRUE(links.addresses("tp0", ec).empty());
}

TEST_F(DeviceOpen, ByTemplate) {
  const Device first = Device::open(DeviceKind::tun, "tp%d");
  const Device second = Device::open(DeviceKind::tun, "tp%d");
  EXPECT_EQ(first.name(), "tp0");
  EXPECT_EQ(second.name(), "tp1");
}

TEST_F(DeviceOpen, WithANameOfTheKernelsChoice) {
  EXPECT_EQ(Device::open(DeviceKind::tun, "").name(), "tun0");
  EXPECT_EQ(Device::open(DeviceKind::tap, "").name(), "tap0");
}

TEST_F(DeviceOpen, LongestName) {
  EXPECT_EQ(Device::open(DeviceKind::tun, "fifteen-letters").name(), "fifteen-letters");
}

TEST_F(DeviceOpen, DescriptorIsNonBlockingAndCloseOnExec) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  EXPECT_NE(::fcntl(device.fileno(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(device.fileno(), F_GETFD) & FD_CLOEXEC, 0);
  const Device blocking = Device::open(DeviceKind::tun, "tp1", {.blocking = true});
  EXPECT_NE(::fcntl(blocking.fileno(), F_GETFL) & O_NONBLOCK, 0) << "the device itself waits";
}

TEST_F(DeviceOpen, DescriptorIsNoSocket) {
  const Device device = Device::open(DeviceKind::tun, "tp0");
  std::array<char, 64> space{};
  iovec part{space.data(), space.size()};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &part;
  message.msg_hdr.msg_iovlen = 1;
  EXPECT_EQ(::recvmmsg(device.fileno(), &message, 1, 0, nullptr), -1);
  EXPECT_EQ(errno, ENOTSOCK);
  EXPECT_EQ(::sendmmsg(device.fileno(), &message, 1, 0), -1);
  EXPECT_EQ(errno, ENOTSOCK);
}

TEST_F(DeviceOpen, ClosingDeletesTheInterface) {
  Device device = Device::open(DeviceKind::tun, "tp0");
  device.close();
  EXPECT_FALSE(device);
  EXPECT_EQ(device.fileno(), -1);
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(DeviceOpen, PersistentDeviceStaysUntilItIsNoLonger) {
  prepare(DeviceKind::tun, "tp0");
  ASSERT_TRUE(is_there("tp0"));
  EXPECT_TRUE(links.find("tp0", ec)->tunnel->persistent);
  {
    Device device = Device::open(DeviceKind::tun, "tp0", attaching);
    EXPECT_TRUE(device.capabilities().persistent);
    device.set_persistent(false, ec);
    EXPECT_FALSE(ec);
    EXPECT_FALSE(device.capabilities().persistent);
  }
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(DeviceOpen, CreateRefusesWhatIsThere) {
  prepare(DeviceKind::tun, "tp0");
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", creating), Errc::device_exists);
  EXPECT_EQ(error_of(DeviceKind::tun, "lo", creating), Errc::device_exists);
  EXPECT_TRUE(Device::open(DeviceKind::tun, "tp1", creating));
}

TEST_F(DeviceOpen, AttachRefusesWhatIsNotThere) {
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", attaching), Errc::no_such_device);
  EXPECT_FALSE(is_there("tp0"));
  EXPECT_EQ(error_of(DeviceKind::tun, "tp%d", attaching), Errc::invalid_name);
  EXPECT_EQ(error_of(DeviceKind::tun, "", attaching), Errc::invalid_name);
}

TEST_F(DeviceOpen, HeldByAnother) {
  const Device holder = Device::open(DeviceKind::tun, "tp0");
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0"), Errc::device_held_here);
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", attaching), Errc::device_held_here);
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", creating), Errc::device_exists);
}

TEST_F(DeviceOpen, WrongKind) {
  prepare(DeviceKind::tap, "tp0");
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0"), Errc::wrong_kind);
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", attaching), Errc::wrong_kind);
}

TEST_F(DeviceOpen, NotATunnel) {
  EXPECT_EQ(error_of(DeviceKind::tun, "lo"), Errc::not_a_tunnel);
  EXPECT_EQ(error_of(DeviceKind::tap, "lo", attaching), Errc::not_a_tunnel);
}

TEST_F(DeviceOpen, MultiQueueMismatch) {
  prepare(DeviceKind::tun, "one");
  prepare(DeviceKind::tun, "many", {.multi_queue = true});
  EXPECT_EQ(error_of(DeviceKind::tun, "one", {.multi_queue = true}), Errc::multi_queue_mismatch);
  EXPECT_EQ(error_of(DeviceKind::tun, "many"), Errc::multi_queue_mismatch);
  EXPECT_EQ(error_of(DeviceKind::tun, "many", attaching), Errc::multi_queue_mismatch);
  const Device first = Device::open(DeviceKind::tun, "many", {.multi_queue = true});
  const Device second = Device::open(DeviceKind::tun, "many", {.multi_queue = true});
  EXPECT_TRUE(first.capabilities().multi_queue);
  EXPECT_TRUE(second.capabilities().multi_queue);
}

TEST_F(DeviceOpen, SecondQueueGetsTheFlagsThatAreThere) {
  const Device first =
      Device::open(DeviceKind::tun, "tp0", {.packet_information = true, .multi_queue = true});
  const Device second = Device::open(DeviceKind::tun, "tp0", {.multi_queue = true});
  EXPECT_TRUE(second.capabilities().packet_information);
  EXPECT_EQ(second.capabilities().framing, 4U);
}

TEST_F(DeviceOpen, FirstQueueSetsTheFlags) {
  prepare(DeviceKind::tun, "tp0", {.packet_information = true});
  EXPECT_TRUE(links.find("tp0", ec)->tunnel->packet_information);
  const Device device = Device::open(DeviceKind::tun, "tp0", attaching);
  EXPECT_FALSE(device.capabilities().packet_information);
  EXPECT_EQ(device.capabilities().framing, 0U);
}

TEST_F(DeviceOpen, NoDriver) {
  EXPECT_EQ(error_of(DeviceKind::tun, "tp0", {.clone_path = "/nowhere/tun"}), Errc::no_driver);
}

TEST_F(DeviceOpen, ThrowsWithTheNameAndTheRemedy) {
  try {
    Device::open(DeviceKind::tun, "lo");
    FAIL() << "the device opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.subject(), "lo");
    EXPECT_EQ(error.code(), Errc::not_a_tunnel);
  }
}

/// Deletes the interface right before the attaching, as another process might.
class DeletingIo final : public sandbox::ForwardingIo {
 public:
  int ioctl(int fd, unsigned long request, void* argument) override {
    std::error_code removed;
    if (request == TUNSETIFF) LinuxLinks{}.remove("tp0", removed);
    EXPECT_FALSE(removed) << removed.message();
    return ForwardingIo::ioctl(fd, request, argument);
  }
};

TEST_F(DeviceOpen, AttachCreatesNothingWhenTheDeviceGoesMeanwhile) {
  prepare(DeviceKind::tun, "tp0");
  DeletingIo io;
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", attaching, {io, links}, ec));
  EXPECT_EQ(ec, Errc::no_such_device);
  EXPECT_FALSE(is_there("tp0"));
}

// --- users ---

TEST_F(DeviceOpen, OwnerAttachesWithoutPrivilege) {
  if (!is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const PublicCloneDevice clone;
  {
    Device device = Device::open(DeviceKind::tun, "tp0");
    device.set_owner(other_user, ec);
    EXPECT_FALSE(ec) << ec.message();
    device.set_persistent(true, ec);
    EXPECT_FALSE(ec) << ec.message();
  }
  EXPECT_EQ(links.find("tp0", ec)->tunnel->owner, other_user);
  const auto attach = [&] {
    DeviceOptions options = attaching;
    options.clone_path = clone.path();
    std::error_code opened;
    Device device = Device::open(DeviceKind::tun, "tp0", options, linux_system(), opened);
    if (opened == Errc::not_permitted) return 2;
    return device && !opened ? 0 : 1;
  };
  EXPECT_EQ(as_user(other_user, attach), 0) << "the owner";
  EXPECT_EQ(as_user(other_user - 1, attach), 2) << "another user";
}

TEST_F(DeviceOpen, GroupAttachesWithoutPrivilege) {
  if (!is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const PublicCloneDevice clone;
  {
    Device device = Device::open(DeviceKind::tap, "tp0");
    device.set_group(other_user, ec);
    device.set_persistent(true, ec);
    EXPECT_FALSE(ec) << ec.message();
  }
  EXPECT_EQ(links.find("tp0", ec)->tunnel->group, other_user);
  EXPECT_FALSE(links.find("tp0", ec)->tunnel->owner);
  const auto attach = [&] {
    std::error_code opened;
    DeviceOptions options = attaching;
    options.clone_path = clone.path();
    return Device::open(DeviceKind::tap, "tp0", options, linux_system(), opened) ? 0 : 1;
  };
  EXPECT_EQ(as_user(other_user, attach), 0);
  EXPECT_EQ(as_user(other_user - 1, attach), 1);
}

TEST_F(DeviceOpen, CreatingNeedsPrivilege) {
  if (!is_real_root()) GTEST_SKIP() << "needs root, to become another user. This test was not run.";
  const PublicCloneDevice clone;
  const auto code_of = [&](const DeviceOptions& options) {
    return as_user(other_user, [&] {
      std::error_code opened;
      const std::size_t before = open_descriptors();
      Device::open(DeviceKind::tun, "tp0", options, linux_system(), opened);
      if (open_descriptors() != before) return 3;
      if (opened == Errc::not_permitted) return 1;
      return opened == Errc::clone_device_denied ? 2 : 0;
    });
  };
  EXPECT_EQ(code_of({.clone_path = clone.path()}), 1);
  ASSERT_EQ(::chmod(clone.path().c_str(), 0600), 0);
  EXPECT_EQ(code_of({.clone_path = clone.path()}), 2);
}

TEST_F(DeviceOpen, WhatStandsInThePlaceOfTheCloneDeviceIsNamed) {
  const auto code_of = [](const std::string& path) {
    std::error_code opened;
    Device::open(DeviceKind::tun, "tp0", {.clone_path = path}, linux_system(), opened);
    return opened;
  };
  EXPECT_EQ(code_of("/proc"), Errc::not_clone_device) << "a directory";
  EXPECT_EQ(code_of("/dev/null"), Errc::not_clone_device) << "another device";
  char plain[] = "/tmp/tunport-XXXXXX";
  const UniqueFd file{::mkstemp(plain)};
  ASSERT_TRUE(file);
  EXPECT_EQ(code_of(plain), Errc::not_clone_device) << "a plain file";
  ::unlink(plain);
}

TEST_F(DeviceOpen, ACloneDeviceOnAMountWithNodevIsNotRefusedByItsMode) {
  if (!is_real_root()) GTEST_SKIP() << "needs root, to make a device node. This test was not run.";
  char directory[] = "/tmp/tunport-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::string path = std::string{directory} + "/tun";
  // In a separate process and mount namespace: the mount goes with them.
  const pid_t child = ::fork();
  if (child == 0) {
    std::error_code opened;
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", directory, "tmpfs", MS_NODEV, nullptr) != 0 ||
        ::mknod(path.c_str(), S_IFCHR | 0666, makedev(10, 200)) != 0)
      ::_exit(2);
    Device::open(DeviceKind::tun, "tp0", {.clone_path = path}, linux_system(), opened);
    ::_exit(opened == Errc::clone_device_forbidden ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::rmdir(directory);
}

// --- adopt and release ---

/// A descriptor as another program would hand over, bound with `flags`.
UniqueFd bound_elsewhere(int flags, const char* name, int header_size = 0, int open_flags = O_RDWR) {
  UniqueFd fd{::open("/dev/net/tun", open_flags)};
  ifreq request{};
  std::copy_n(name, std::string_view{name}.size(), request.ifr_name);
  request.ifr_flags = static_cast<short>(flags);
  EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
  if (header_size != 0) {
    EXPECT_EQ(::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size), 0);
  }
  return fd;
}

TEST_F(DeviceOpen, AdoptsABlockingDescriptor) {
  const Device device = Device::adopt(bound_elsewhere(IFF_TAP | IFF_NO_PI, "tp0"));
  EXPECT_EQ(device.name(), "tp0");
  EXPECT_EQ(device.kind(), DeviceKind::tap);
  EXPECT_EQ(device.capabilities().framing, 0U);
  EXPECT_NE(::fcntl(device.fileno(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(device.fileno(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(DeviceOpen, AdoptReadsTheFramingBack) {
  EXPECT_EQ(Device::adopt(bound_elsewhere(IFF_TUN, "a")).capabilities().framing, 4U);
  EXPECT_EQ(Device::adopt(bound_elsewhere(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, "b")).capabilities().framing,
            10U);
  EXPECT_EQ(Device::adopt(bound_elsewhere(IFF_TUN | IFF_VNET_HDR, "c", 12)).capabilities().framing, 16U);
  EXPECT_FALSE(
      Device::adopt(bound_elsewhere(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, "d", 70), {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::bad_header_size);
}

TEST_F(DeviceOpen, AdoptRefusesOtherDescriptors) {
  const std::size_t before = open_descriptors();
  EXPECT_FALSE(Device::adopt(UniqueFd{::open("/dev/net/tun", O_RDWR)}, {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::not_bound) << "not bound";
  EXPECT_FALSE(Device::adopt(UniqueFd{::socket(AF_INET, SOCK_DGRAM, 0)}, {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::not_bound) << "a socket";
  EXPECT_FALSE(Device::adopt(UniqueFd{::open("/dev/zero", O_RDWR)}, {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::not_bound) << "another file";
  EXPECT_FALSE(Device::adopt(UniqueFd{}, {}, linux_system(), ec));
  EXPECT_EQ(ec, errno_code(EBADF)) << "no descriptor";
  EXPECT_FALSE(
      Device::adopt(bound_elsewhere(IFF_TUN | IFF_NO_PI, "tp0", 0, O_RDONLY), {}, linux_system(), ec));
  EXPECT_EQ(ec, errno_code(EBADF)) << "cannot be written to";
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_THROW(Device::adopt(UniqueFd{}), Error);
}

TEST_F(DeviceOpen, ReleasedDescriptorLivesOnAndCanBeAdopted) {
  Device device = Device::open(DeviceKind::tun, "tp0");
  const int number = device.fileno();
  UniqueFd fd = device.release();
  EXPECT_EQ(fd.get(), number);
  EXPECT_FALSE(device);
  EXPECT_TRUE(is_there("tp0"));
  EXPECT_EQ(Device::adopt(std::move(fd)).name(), "tp0");
}

// --- namespaces ---

TEST_F(DeviceOpen, InAnotherNamespace) {
  const UniqueFd there = current_namespace(ec);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const std::string path = "/proc/self/fd/" + std::to_string(there.get());
  const Device device = Device::open(DeviceKind::tun, "tp0", {.network_namespace = path});
  EXPECT_FALSE(is_there("tp0"));
  EXPECT_TRUE(LinuxLinks{current_namespace(ec)}.find("lo", ec));
  in_namespace(
      there.get(), [&] { EXPECT_TRUE(is_there("tp0")); }, ec);
  EXPECT_FALSE(ec) << ec.message();

  // The diagnosis looks there as well: the interface does not exist here.
  EXPECT_EQ(error_of(DeviceKind::tap, "tp0", {.network_namespace = path}), Errc::wrong_kind);
  EXPECT_EQ(error_of(DeviceKind::tap, "tp1", {.network_namespace = "no-such-namespace"}),
            Errc::no_such_namespace);
  EXPECT_EQ(error_of(DeviceKind::tap, "tp1", {.network_namespace = "/dev/null"}), Errc::not_a_namespace);
  EXPECT_EQ(error_of(DeviceKind::tap, "tp1", {.network_namespace = "/proc/self/ns/uts"}),
            Errc::not_a_namespace);
}

TEST_F(DeviceOpen, EachSettingAndNamespaceCallHasAThrowingForm) {
  const auto subject_of = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.subject();
    }
    return "nothing was thrown";
  };
  Device device = Device::open(DeviceKind::tun, "tp0");
  device.set_offload({});
  device.set_persistent(false);
  device.set_owner(0);
  device.set_group(0);
  device.set_send_buffer(5000);
  EXPECT_EQ(subject_of([&] { device.set_send_buffer(0); }), "tp0");
  links.remove("tp0", ec);
  EXPECT_EQ(subject_of([&] { device.set_offload({}); }), "tp0");
  EXPECT_EQ(subject_of([&] { device.set_persistent(true); }), "tp0");
  EXPECT_EQ(subject_of([&] { device.set_owner(0); }), "tp0");
  EXPECT_EQ(subject_of([&] { device.set_group(0); }), "tp0");

  bool ran = false;
  in_namespace(current_namespace().get(), [&] { ran = true; });
  EXPECT_TRUE(ran);
  EXPECT_EQ(subject_of([] { in_namespace(-1, [] {}); }), "network namespace");
  EXPECT_TRUE(open_namespace("/proc/thread-self/ns/net"));
  EXPECT_EQ(subject_of([] { open_namespace("no-such-namespace"); }), "no-such-namespace");
}

TEST_F(DeviceOpen, ThreadComesBackFromANamespaceAlsoByAnException) {
  const UniqueFd there = current_namespace(ec);
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const Device device = Device::open(DeviceKind::tun, "here");
  EXPECT_THROW(in_namespace(
                   there.get(), [] { throw 1; }, ec),
               int);
  EXPECT_TRUE(is_there("here"));
}

}  // namespace
}  // namespace tunport
