/// Failures that name their remedy: what the command can run short of, and devices that are not as it needs
/// them.

#include <functional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;

class CommandRemedies : public sandbox::KernelTest {
 protected:
  static void fails_with_one_line(const Finished& finished, const std::string& said) {
    EXPECT_EQ(finished.status, 1);
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr(said));
  }
};

/// Runs the command under limits that grow from `least` by `step`, until a limit is enough; `check` looks at
/// each result before that.
void grow_limit(const std::string& option, int least, int step, const Words& command, Circumstances shell,
                const std::function<void(const Finished&)>& check) {
  shell.program = "/bin/sh";
  for (int limit = least; limit < least + 128 * step; limit += step) {
    SCOPED_TRACE(option + ' ' + std::to_string(limit));
    Words words{"-c", "ulimit " + option + ' ' + std::to_string(limit) + R"(; exec "$0" "$@")", path()};
    words.insert(words.end(), command.begin(), command.end());
    const auto finished = run(words, shell);
    if (finished.status == 0) return;
    if (finished.err.find("loading shared libraries") == std::string::npos)
      check(finished);  // not ours to say
  }
  ADD_FAILURE() << "no limit was enough";
}

TEST_F(CommandRemedies, TooFewDescriptors) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers need descriptors of their own";
#endif
  const auto names_the_limit = [&](const Finished& finished) {
    fails_with_one_line(finished, "raise the limit ('ulimit -n')");
    EXPECT_FALSE(links.find("tp0", ec));
  };
  const Words words = host("tap:tp0", {"--quiet", "--interface-address", "fd00::1/64"}, {"true"});
  grow_limit("-n", 4, 1, words, {}, names_the_limit);
  if (!sandbox::is_real_root()) return;
  const sandbox::PublicCloneDevice clone;
  grow_limit("-n", 4, 1, host("tap:tp0", {"--quiet", "--sandbox"}, {"true"}),
             {.user = 65534, .clone_device = clone.path()}, names_the_limit);
}

TEST_F(CommandRemedies, TooLittleMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers need memory of their own";
#endif
  int seen = 0;
  grow_limit("-v", 4000, 128, host("tap:tp0", {"--quiet"}, {"true"}), {}, [&](const Finished& finished) {
    if (finished.status >= 126) return;  // the shell, the loader or COMMAND had too little
    ++seen;
    fails_with_one_line(finished, "memory");
    EXPECT_THAT(finished.err, testing::Not(HasSubstr("bad_alloc")));
    EXPECT_FALSE(links.find("tp0", ec));
  });
  EXPECT_GT(seen, 0);
}

TEST_F(CommandRemedies, WhatStandsInThePlaceOfTheCloneDevice) {
  if (!sandbox::is_real_root()) GTEST_SKIP() << "mounts, so it needs root. This test was not run.";
  const std::string device = "/dev/net/tun";
  const auto in_its_place = [&](bool (*make)(const std::string&)) {
    Circumstances how;
    how.mounts = [make, device] {
      return ::mount("none", "/dev/net", "tmpfs", 0, nullptr) == 0 && make(device);
    };
    return how;
  };
  const std::string not_it = "/dev/net/tun is not the TUN/TAP driver's device";
  fails_with_one_line(run(host("tap:tp0"), in_its_place([](const std::string& path) {
                            return ::mkdir(path.c_str(), 0755) == 0;
                          })),
                      not_it);
  fails_with_one_line(run(host("tap:tp0"), in_its_place([](const std::string& path) {
                            return ::close(::creat(path.c_str(), 0666)) == 0;
                          })),
                      not_it);
  Circumstances nodev;
  nodev.mounts = [&] {
    return ::mount(device.c_str(), device.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
           ::mount(nullptr, device.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_NODEV, nullptr) == 0;
  };
  fails_with_one_line(run(host("tap:tp0"), nodev), "(--device /dev/net/tun)");
  EXPECT_THAT(run(host("tap:tp0"), nodev).err, HasSubstr("its file system is mounted nodev"));
}

TEST_F(CommandRemedies, ADeviceThatIsMultiQueue) {
  ASSERT_EQ(sandbox::run({"ip", "tuntap", "add", "tp0", "mode", "tap", "multi_queue"}).status, 0);
  fails_with_one_line(run(host("tap:tp0")),
                      "tp0: the device is multi-queue, which a port of tunport host is not; choose "
                      "another name, or make it without 'multi_queue'");
}

TEST_F(CommandRemedies, Ipv6ThatIsSwitchedOff) {
  sandbox::disable_ipv6();
  const Words words = host("tap:tp0", {"--interface-address", "fd00::1/64"});
  fails_with_one_line(run(words), "'sysctl -w net.ipv6.conf.default.disable_ipv6=0'");
  ASSERT_EQ(sandbox::run({"ip", "tuntap", "add", "tp0", "mode", "tap"}).status, 0);
  fails_with_one_line(run(words), "'sysctl -w net.ipv6.conf.tp0.disable_ipv6=0'");
  for (const char* name : {"default", "tp0"})
    ASSERT_EQ(sandbox::run({"sysctl", "-w", std::string{"net.ipv6.conf."} + name + ".disable_ipv6=0"}).status,
              0);
  auto with_command = words;
  with_command.insert(with_command.end(), {"--", "true"});
  EXPECT_EQ(run(with_command).status, 0) << "as was advised";
  links.remove("tp0", ec);
  EXPECT_EQ(run(with_command).status, 0) << "as was advised";
}

TEST_F(CommandRemedies, AnIpv6AddressOnAShortMtu) {
  ASSERT_EQ(sandbox::run({"ip", "tuntap", "add", "tp0", "mode", "tap"}).status, 0);
  links.set_mtu("tp0", 1000, ec);
  fails_with_one_line(run(host("tap:tp0", {"--interface-address", "fd00::1/64"})),
                      "IPv6 needs an MTU of 1280 or more, and this is 1000; add ',mtu=1280' to the port");
  EXPECT_EQ(run(host("tap:tp0,mtu=1280", {"--interface-address", "fd00::1/64"}, {"true"})).status, 0);
}

}  // namespace
}  // namespace tunport::command
