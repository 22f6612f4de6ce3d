/// `tunport host` for those who may not do everything, and in its sandbox.

#include <algorithm>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr uid_t nobody = 65534;
const Words ping{"ping", "-c", "2", "-i", "0.1", "-W", "5", "10.77.0.2"};

class CommandPrivileges : public sandbox::KernelTest {
 protected:
  void expect_failure(const Finished& finished, const std::string& said) {
    EXPECT_EQ(finished.status, 1);
    EXPECT_EQ(finished.out, "");
    ASSERT_EQ(lines(finished.err).size(), 1U) << finished.err;
    EXPECT_THAT(finished.err, StartsWith("tunport: "));
    EXPECT_THAT(finished.err, HasSubstr(said));
    EXPECT_THAT(finished.err, HasSubstr("; "));  // the remedy
  }
  void prepare(const Words& more = {}) {
    Words words{"ip", "tuntap", "add", "tp1", "mode", "tap"};
    words.insert(words.end(), more.begin(), more.end());
    ASSERT_EQ(sandbox::run(words).status, 0);
  }
};

#define NEEDS_ROOT()            \
  if (!sandbox::is_real_root()) \
  GTEST_SKIP() << "becomes another user, so it needs root. This test was not run."

#ifdef __SANITIZE_THREAD__
constexpr bool has_own_thread = true;
#else
constexpr bool has_own_thread = false;
#endif

#define NEEDS_USER_NAMESPACE()                                                                              \
  NEEDS_ROOT();                                                                                             \
  if (has_own_thread)                                                                                       \
  GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which forbids a new user namespace. This test " \
                  "was not run."

TEST_F(CommandPrivileges, FailuresAreStatusOneAndOneLine) {
  expect_failure(run(host("tap:tp0,mode=attach")), "tp0: there is no such device");
  expect_failure(run(host("tap:lo")), "lo: the interface is neither TUN nor TAP");
  prepare();
  expect_failure(run(host("tap:tp1,mode=create")), "tp1: the device exists already");
  expect_failure(run(host("tun:tp1")), "tp1: the device is of the other kind");
  Running holder{host("tap:tp1")};
  ASSERT_TRUE(holder.has_said("is up"));
  expect_failure(run(host("tap:tp1")), "tp1: another process holds the device");
}

TEST_F(CommandPrivileges, WithoutADriverItSaysSo) {
  NEEDS_ROOT();
  Circumstances how;
  how.no_driver = true;
  expect_failure(run(host("tap:tp0"), how),
                 "there is no TUN/TAP driver at /dev/net/tun; load it with 'modprobe tun'");
}

TEST_F(CommandPrivileges, WithoutPrivilegeItSaysWhatToDo) {
  NEEDS_ROOT();
  Circumstances how;
  how.user = nobody;
  const sandbox::PublicCloneDevice clone;
  how.clone_device = clone.path();
  expect_failure(run(host("tap:tp0"), how),
                 "tp0: creating, attaching to or changing this interface is not permitted; give the program");
  prepare({"user", "65534"});
  expect_failure(run(host("tap:tp1"), how), "'ip addr add 10.77.0.1/24 dev tp1'");
  expect_failure(run(host("tap:tp1,mtu=1400"), how), "'ip link set tp1 mtu 1400'");
}

TEST_F(CommandPrivileges, ACloneDeviceThatMayNotBeOpenedIsNamed) {
  NEEDS_ROOT();
  const sandbox::PublicCloneDevice clone;
  ASSERT_EQ(::chmod(clone.path().c_str(), 0600), 0);
  Circumstances how;
  how.user = nobody;
  how.clone_device = clone.path();
  expect_failure(run(host("tap:tp0", {"--quiet", "--sandbox"}), how),
                 "/dev/net/tun may not be opened by this user");
}

TEST_F(CommandPrivileges, APreparedDeviceNeedsNone) {
  NEEDS_ROOT();
  prepare({"user", "65534"});
  links.add_address("tp1", *IpPrefix::parse("10.77.0.1/24"), ec);
  links.set_up("tp1", true, ec);
  const sandbox::PublicCloneDevice clone;
  Circumstances how;
  how.user = nobody;
  how.clone_device = clone.path();
  const auto finished = run(host("tap:tp1,mode=attach", {}, {"true"}), how);
  EXPECT_EQ(finished.status, 0) << finished.err;
  Running running{host("tap:tp1,mode=attach"), how};
  ASSERT_TRUE(running.has_said("is up"));
  EXPECT_EQ(sandbox::run(ping).status, 0);
}

class CommandSandbox : public CommandPrivileges {};

TEST_F(CommandSandbox, LeavesTheNetworkOutsideUntouched) {
  const auto seen = [] { return sandbox::run({"ip", "addr"}).output; };
  const std::string before = seen();
  Running running{
      host("tap:tp0", {"--sandbox"}, {"sh", "-c", "ping -c 1 -W 5 10.77.0.2; ip -br addr; sleep 0.3"})};
  ASSERT_TRUE(running.has_said("tp0  "));
  EXPECT_EQ(seen(), before);
  const auto finished = running.wait();
  EXPECT_THAT(finished.out, HasSubstr("1 received"));
  EXPECT_THAT(finished.out, HasSubstr("127.0.0.1/8"));  // loopback is up
  EXPECT_EQ(seen(), before);
}

TEST_F(CommandSandbox, WorksWithoutRoot) {
  NEEDS_USER_NAMESPACE();
  const sandbox::PublicCloneDevice clone;
  Circumstances how;
  how.user = nobody;
  how.clone_device = clone.path();
  const auto finished = run(host("tap:tp0", {"--sandbox"}, ping), how);
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("2 received"));
}

TEST_F(CommandSandbox, SaysThatThereAreTooManyNetworkNamespaces) {
  NEEDS_USER_NAMESPACE();
  expect_failure(run(host("tap:tp0", {"--sandbox"}), {.no_namespaces = "net"}),
                 "--sandbox: no more network namespaces can be made (No space left on device)");
}

/// How the command enters its sandbox for a user.
enum class As : bool { root, ordinary };

class CommandSandboxAs : public CommandSandbox, public testing::WithParamInterface<As> {
 protected:
  void SetUp() override {
    CommandSandbox::SetUp();
    if (IsSkipped()) return;
    NEEDS_USER_NAMESPACE();
    clone_.emplace();
    how_.clone_device = clone_->path();
    if (GetParam() == As::ordinary) how_.user = nobody;
  }
  Circumstances how_;
  std::optional<sandbox::PublicCloneDevice> clone_;
};
INSTANTIATE_TEST_SUITE_P(CommandSandbox, CommandSandboxAs, testing::Values(As::root, As::ordinary),
                         [](const auto& tested) { return tested.param == As::root ? "root" : "ordinary"; });

TEST_P(CommandSandboxAs, SysShowsItsOwnNetwork) {
  const auto finished = run(host("tap:tp0,mtu=4321", {"--quiet", "--sandbox"},
                                 {"sh", "-c", "ls /sys/class/net; cat /sys/class/net/tp0/mtu"}),
                            how_);
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(finished.out, "lo\ntp0\n4321\n");
}

TEST_P(CommandSandboxAs, IsEnteredAsItSays) {
  Running running{host("tap:tp0", {"--sandbox"}), how_};
  ASSERT_TRUE(running.has_said("the sandbox is entered with '"));
  const std::string said = running.out();
  const auto from = said.find("nsenter");
  const std::string line =
      said.substr(from, said.find('\'', from) - from) + " cat /sys/class/net/tp0/operstate";
  std::string output;
  const auto enter = [&] {
    const auto result = sandbox::run({"sh", "-c", line});
    return result.status == 0 && result.output == "unknown\n" ? 0 : 1;
  };
  EXPECT_EQ(GetParam() == As::root ? enter() : sandbox::as_user(nobody, enter), 0) << line;
}

TEST_F(CommandSandbox, WhereSysIsRefusedItSaysSoOnceAndGoesOn) {
  NEEDS_USER_NAMESPACE();
  const sandbox::PublicCloneDevice clone;
  Circumstances how;
  how.user = nobody;
  how.clone_device = clone.path();
  // As a container's /sys, of which a part is hidden.
  how.mounts = [] { return ::mount("none", "/sys/kernel", "tmpfs", 0, nullptr) == 0; };
  const auto finished = run(host("tap:tp0", {"--sandbox"}, ping), how);
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.out, HasSubstr("2 received"));
  EXPECT_EQ(finished.err,
            "tunport: --sandbox: /sys shows the interfaces outside still, as a sysfs of its own is refused "
            "here (Operation not permitted); 'ip link' shows those inside\n");
  EXPECT_EQ(run(host("tap:tp0", {"--sandbox", "--quiet"}, {"true"}), how).err, "");
}

TEST_F(CommandSandbox, NamesWhatIsMissingOnTheWayIn) {
  NEEDS_ROOT();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "AddressSanitizer reads /proc, and ThreadSanitizer has a thread of its own, which forbids a new "
         "user namespace. This test was not run.";
#endif
  const sandbox::PublicCloneDevice clone;
  Circumstances how;
  how.user = nobody;
  how.clone_device = clone.path();
  how.mounts = [] { return ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0; };
  expect_failure(run(host("tap:tp0", {"--sandbox"}), how),
                 "--sandbox: /proc/self/setgroups: there is no such file; mount proc at /proc");
}

TEST_F(CommandSandbox, SaysHowToTurnUserNamespacesOn) {
  NEEDS_USER_NAMESPACE();
  Circumstances how;
  how.user = 1000;
  how.no_namespaces = "user";
  expect_failure(
      run(host("tap:tp0", {"--sandbox"}), how),
      "--sandbox: user namespaces are switched off (user.max_user_namespaces is 0); turn them on with "
      "'sysctl -w user.max_user_namespaces=15000', or run as root");
}

}  // namespace
}  // namespace tunport::command
