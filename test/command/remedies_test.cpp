/// Failures that name their remedy: what the command can run short of, and devices that are not as it needs
/// them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST_F(CommandRemedies, TooFewDescriptors) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers need descriptors of their own";
#endif
  Circumstances shell;
  shell.program = "/bin/sh";
  bool was_enough = false;
  for (int limit = 4; limit <= 32 && !was_enough; ++limit) {
    SCOPED_TRACE(limit);
    Words words{"-c", "ulimit -n " + std::to_string(limit) + R"(; exec "$0" "$@")", path()};
    const Words rest = host("tap:tp0", {"--quiet"}, {"true"});
    words.insert(words.end(), rest.begin(), rest.end());
    const auto finished = run(words, shell);
    if (finished.err.find("loading shared libraries") != std::string::npos) continue;  // not ours to say
    was_enough = finished.status == 0;
    if (!was_enough) fails_with_one_line(finished, "raise the limit ('ulimit -n')");
    EXPECT_FALSE(links.find("tp0", ec));
  }
  EXPECT_TRUE(was_enough);
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
