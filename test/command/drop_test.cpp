/// What `tunport host` may still do while it serves packets, and who puts back what it made.

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#elif defined(__clang__)
constexpr bool is_sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool is_sanitized = false;
#endif

/// The state of a process with a filter of system calls; the sanitizers need calls of their own.
const std::string filtered = is_sanitized ? "0" : "2";
const Words ping{"ping", "-c", "2", "-i", "0.1", "-W", "5", "10.77.0.2"};

/// The value of a line of /proc/PID/status; empty if the process has gone.
std::string status_of(pid_t pid, const std::string& key) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
  return {};
}

/// The worker of a command; -1 without one.
pid_t worker_of(pid_t command) {
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = std::stoi(name);
    if (status_of(pid, "PPid") == std::to_string(command) && status_of(pid, "Name") == "tunport-worker")
      return pid;
  }
  return -1;
}

class CommandDrop : public sandbox::KernelTest {
 protected:
  /// The worker of a command that says "is up".
  static pid_t worker_when_up(const Running& running) {
    EXPECT_TRUE(running.has_said("is up")) << running.err();
    return worker_of(running.pid());
  }
  bool is_there(const std::string& name) { return links.find(name, ec).has_value(); }
};

#define NEEDS_ROOT()            \
  if (!sandbox::is_real_root()) \
  GTEST_SKIP() << "becomes another user, so it needs root. This test was not run."

TEST_F(CommandDrop, TheWorkerIsNobodyWithNothing) {
  NEEDS_ROOT();
  Running running{host("tap:tp0")};
  const pid_t worker = worker_when_up(running);
  ASSERT_GT(worker, 0);
  EXPECT_EQ(status_of(worker, "Uid"), "65534\t65534\t65534\t65534");
  EXPECT_EQ(status_of(worker, "Gid"), "65534\t65534\t65534\t65534");
  EXPECT_THAT(status_of(worker, "Groups"), testing::AnyOf("", " "));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status_of(worker, set), "0000000000000000") << set;
  EXPECT_EQ(status_of(worker, "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(worker, "Seccomp"), filtered);
  // The parent, which puts back, has what it had.
  EXPECT_EQ(status_of(running.pid(), "Uid"), "0\t0\t0\t0");
  EXPECT_EQ(sandbox::run(ping).status, 0);
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "-s", "9000", "10.77.0.2"}).status, 0);
  running.send(SIGTERM);
  EXPECT_EQ(running.wait().status, 0);
}

TEST_F(CommandDrop, TheUserIsChosen) {
  NEEDS_ROOT();
  Running running{host("tun:tp0", {"--user", "daemon"})};
  const pid_t worker = worker_when_up(running);
  ASSERT_GT(worker, 0);
  EXPECT_EQ(status_of(worker, "Uid"), "1\t1\t1\t1");
  EXPECT_EQ(status_of(worker, "CapEff"), "0000000000000000");
  EXPECT_EQ(sandbox::run(ping).status, 0);
}

TEST_F(CommandDrop, TheFewCapabilitiesOfAServiceAreEnough) {
  NEEDS_ROOT();
  Words words{"--bounding-set=-all,+net_admin,+setuid,+setgid,+setpcap", path()};
  const Words rest = host("tap:tp0");
  words.insert(words.end(), rest.begin(), rest.end());
  Running running{words, {.program = "/usr/bin/setpriv"}};
  const pid_t worker = worker_when_up(running);
  ASSERT_GT(worker, 0);
  EXPECT_EQ(status_of(worker, "Uid"), "65534\t65534\t65534\t65534");
  EXPECT_EQ(status_of(worker, "CapEff"), "0000000000000000");
  EXPECT_EQ(sandbox::run(ping).status, 0);
  running.send(SIGTERM);
  EXPECT_EQ(running.wait().status, 0);
  // A failure behind the worker's start: the parent may not kill the worker, and comes to its end.
  words.insert(words.end(), {"--", "/no/such/command"});
  const auto failed = run(words, {.program = "/usr/bin/setpriv"});
  EXPECT_EQ(failed.status, 127) << failed.err;
  EXPECT_TRUE(sandbox::wait_until([&] { return !is_there("tp0"); }));
}

TEST_F(CommandDrop, TheLinkIsStillAsked) {
  NEEDS_ROOT();
  Running running{host("tap:tp0,mtu=1400", {"--verbose"})};
  ASSERT_TRUE(running.has_said("is up"));
  // Fragments as the link takes them: the worker asks the kernel for the MTU, and gets its events.
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "-s", "9000", "10.77.0.2"}).status, 0);
  links.set_mtu("tp0", 1300, ec);
  EXPECT_TRUE(running.has_said("tunport: tp0: MTU changed to 1300\n")) << running.out();
  links.set_up("tp0", false, ec);
  EXPECT_TRUE(running.has_said("tunport: tp0: down\n")) << running.out();
  links.set_up("tp0", true, ec);
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status, 0);
}

TEST_F(CommandDrop, PrivilegedKeepsItAll) {
  Running running{host("tap:tp0", {"--privileged"})};
  const pid_t worker = worker_when_up(running);
  ASSERT_GT(worker, 0);
  for (const char* key : {"Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"})
    EXPECT_EQ(status_of(worker, key), status_of(running.pid(), key)) << key;
  EXPECT_EQ(sandbox::run(ping).status, 0);
}

TEST_F(CommandDrop, WithoutRootCapabilitiesAndCallsAreGoneStill) {
  Running running{host("tap:tp0", {"--sandbox"}, {"sh", "-c", "echo up; sleep 60"})};
  ASSERT_TRUE(running.has_said("up\n"));
  const pid_t worker = worker_of(running.pid());
  ASSERT_GT(worker, 0);
  EXPECT_EQ(status_of(worker, "CapEff"), "0000000000000000");
  EXPECT_EQ(status_of(worker, "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(worker, "Seccomp"), filtered);
}

TEST_F(CommandDrop, TheCommandOfASudoRunsAsItsCaller) {
  NEEDS_ROOT();
  const auto finished =
      run(host("tap:tp0", {"--quiet"}, {"sh", "-c", "id -u; id -g; id -G"}), {.sudo = 54321});
  const auto kept = run(host("tap:tp0", {"--quiet", "--privileged"}, {"id", "-u"}), {.sudo = 54321});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_EQ(finished.out, "54321\n54322\n54322\n");
  EXPECT_EQ(kept.out, "0\n");
}

class CommandDropCrash : public CommandDrop, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(CommandDrop, CommandDropCrash, testing::Values(SIGKILL, SIGSEGV),
                         [](const auto& tested) { return tested.param == SIGKILL ? "killed" : "crashed"; });

TEST_P(CommandDropCrash, AWorkerThatDiesIsCleanedUpAfter) {
  ASSERT_EQ(sandbox::run({"ip", "tuntap", "add", "tp1", "mode", "tap"}).status, 0);
  const std::string before = sandbox::run({"ip", "-o", "addr", "show", "dev", "tp1"}).output;
  const auto mtu = links.find("tp1").mtu;
  Running running{host("tap:tp1,mtu=1400", {}, {"sh", "-c", "echo started; sleep 60"})};
  ASSERT_TRUE(running.has_said("started"));
  const pid_t worker = worker_of(running.pid());
  ASSERT_GT(worker, 0);
  ::kill(worker, GetParam());
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 1);
  if (!is_sanitized || GetParam() != SIGSEGV) {  // a sanitizer tells of that signal, and ends the worker
    EXPECT_THAT(finished.err,
                HasSubstr("tunport: tp1: the worker was ended by signal " + std::to_string(GetParam())));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
  EXPECT_EQ(links.find("tp1").mtu, mtu);
  EXPECT_FALSE(links.find("tp1").up);
  EXPECT_EQ(sandbox::run({"ip", "-o", "addr", "show", "dev", "tp1"}).output, before);
}

TEST_F(CommandDrop, AWorkerEndsWithItsParent) {
  Running running{host("tap:tp0")};
  const pid_t worker = worker_when_up(running);
  ASSERT_GT(worker, 0);
  running.send(SIGKILL);
  EXPECT_EQ(running.wait().status, 128 + SIGKILL);
  EXPECT_TRUE(sandbox::wait_until([&] { return !is_there("tp0"); }));
}

TEST(CommandDropUsage, WrongUsersAreRefused) {
  const auto unknown = run(host("tap:tp0", {"--user", "no-such-user"}));
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("--user 'no-such-user': there is no such user"));
  const auto both = run(host("tap:tp0", {"--user", "daemon", "--privileged"}));
  EXPECT_EQ(both.status, 2);
  EXPECT_THAT(both.err, HasSubstr("--user and --privileged exclude each other"));
}

}  // namespace
}  // namespace tunport::command
