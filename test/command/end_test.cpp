/// How `tunport host` ends where something stands in its way: a COMMAND of another user, output that nobody
/// reads; and how COMMAND ends with it.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr uid_t nobody = 65534;

/// A line of /proc/PID/status; empty if the process has gone.
std::string status_line(pid_t pid, const std::string& key) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return line;
  return {};
}

bool is_running(pid_t pid) {
  const std::string state = status_line(pid, "State:");
  return !state.empty() && state.find('Z') == std::string::npos;
}

/// A process that the test kills in the end, whatever becomes of it.
struct Stranger {
  pid_t pid;
  ~Stranger() {
    if (pid > 0 && is_running(pid)) ::kill(pid, SIGKILL);
  }
};

/// A directory that everybody may look into.
class PublicDirectory {
 public:
  PublicDirectory() {
    char name[] = "/tmp/tunport-test-XXXXXX";
    path_ = ::mkdtemp(name);
    ::chmod(path_.c_str(), 0755);
  }
  ~PublicDirectory() { std::filesystem::remove_all(path_); }
  PublicDirectory(const PublicDirectory&) = delete;
  PublicDirectory& operator=(const PublicDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + '/' + name; }

 private:
  std::string path_;
};

/// A pipe with a name that is full, and that nobody reads.
class FullPipe {
 public:
  FullPipe() {
    ::mkfifo(path().c_str(), 0666);
    fd_.reset(::open(path().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    const std::string text(4096, 'x');
    while (::write(fd_.get(), text.data(), text.size()) > 0) {
    }
  }
  std::string path() const { return directory_ / "pipe"; }
  /// Reads all that is there.
  std::string drain() {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(fd_.get(), buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(got));
    return text;
  }

 private:
  PublicDirectory directory_;
  UniqueFd fd_;
};

class CommandEnd : public sandbox::KernelTest {
 protected:
  bool is_there(const std::string& name) { return links.find(name, ec).has_value(); }
};

/// The number that COMMAND said first.
pid_t pid_said(const Running& running) {
  EXPECT_TRUE(sandbox::wait_until([&] { return running.out().find('\n') != std::string::npos; }))
      << running.err();
  return running.out().empty() ? -1 : std::stoi(running.out());
}

TEST_F(CommandEnd, KilledItTakesACommandAlongThatBecameAnotherUser) {
  if (!sandbox::is_real_root())
    GTEST_SKIP() << "becomes another user, so it needs root. This test was not run.";
  Running running{host("tap:tp0", {"--quiet"},
                       {"sh", "-c", "echo $$; exec setpriv --reuid=65534 --clear-groups sleep 60"})};
  const Stranger command{pid_said(running)};
  ASSERT_TRUE(sandbox::wait_until(
      [&] { return status_line(command.pid, "Uid:").find("65534") != std::string::npos; }));
  running.send(SIGKILL);
  EXPECT_EQ(running.wait().status, 128 + SIGKILL);
  EXPECT_TRUE(sandbox::wait_until([&] { return !is_running(command.pid); }));
  EXPECT_TRUE(sandbox::wait_until([&] { return !is_there("tp0"); }));
}

/// The command, run by an ordinary user on a prepared device, with a COMMAND that becomes root as by sudo.
class CommandEndAsOther : public CommandEnd {
 protected:
  void SetUp() override {
    CommandEnd::SetUp();
    if (IsSkipped()) return;
    if (!sandbox::is_real_root())
      GTEST_SKIP() << "becomes another user, so it needs root. This test was not run.";
    struct statvfs file_system {};
    ASSERT_EQ(::statvfs((directory_ / "").c_str(), &file_system), 0);
    if ((file_system.f_flag & ST_NOSUID) != 0)
      GTEST_SKIP() << "/tmp is mounted nosuid. This test was not run.";
    const std::string sudo = directory_ / "sudo";
    ASSERT_EQ(sandbox::run({"cp", "/usr/bin/setpriv", sudo}).status, 0);
    ASSERT_EQ(::chmod(sudo.c_str(), 04755), 0);
    for (const Words& words :
         {Words{"ip", "tuntap", "add", "tp1", "mode", "tap", "user", "65534"},
          Words{"ip", "addr", "add", "10.77.0.1/24", "dev", "tp1"}, Words{"ip", "link", "set", "tp1", "up"}})
      ASSERT_EQ(sandbox::run(words).status, 0);
    clone_.emplace();
    const std::string become_root = "echo $$; exec " + sudo + " --reuid=0 --regid=0 --clear-groups sleep 60";
    running_.emplace(host("tap:tp1", {"--quiet"}, {"sh", "-c", become_root}),
                     Circumstances{.user = nobody, .clone_device = clone_->path()});
    command_.pid = pid_said(*running_);
    ASSERT_TRUE(sandbox::wait_until([&] { return status_line(command_.pid, "Uid:") == "Uid:\t0\t0\t0\t0"; }));
  }
  std::string left_alone() const {
    return "tunport: command 'sh': signal 15 cannot be passed on, as it has become another user; tunport "
           "ends without it: end it with 'sudo kill " +
           std::to_string(command_.pid) + "'\n";
  }

  PublicDirectory directory_;
  std::optional<sandbox::PublicCloneDevice> clone_;
  Stranger command_{-1};
  std::optional<Running> running_;
};

TEST_F(CommandEndAsOther, ACommandThatCannotBeSignalledIsLeft) {
  running_->send(SIGTERM);
  const auto finished = running_->wait();
  EXPECT_EQ(finished.status, 128 + SIGTERM);
  EXPECT_EQ(finished.err, left_alone());
  EXPECT_TRUE(is_running(command_.pid));
}

TEST_F(CommandEndAsOther, ADeviceThatIsDeletedEndsTheCommandAlone) {
  links.remove("tp1", ec);
  const auto finished = running_->wait();
  EXPECT_EQ(finished.status, 1);
  EXPECT_EQ(finished.err, "tunport: tp1: the device was deleted; start tunport again\n" + left_alone());
  EXPECT_TRUE(is_running(command_.pid));
}

TEST_F(CommandEnd, AnOutputThatNobodyReadsDoesNotKeepItFromItsEnd) {
  FullPipe pipe;
  Circumstances how;
  how.output = pipe.path();
  Running running{host("tap:tp0"), how};
  ASSERT_TRUE(sandbox::wait_until([&] { return is_there("tp0"); }));
  running.send(SIGTERM);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.err, StartsWith("tunport: standard output: nobody reads it"));
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(CommandEnd, AnErrorOutputThatNobodyReadsDoesNotKeepItFromItsEnd) {
  FullPipe pipe;
  Words words{"-c", "exec \"$0\" \"$@\" 2>" + pipe.path(), path()};
  const Words rest = host("tap:tp0", {"--json"});
  words.insert(words.end(), rest.begin(), rest.end());
  Running running{words, {.program = "/bin/sh"}};
  ASSERT_TRUE(sandbox::wait_until([&] { return is_there("tp0"); }));
  running.send(SIGTERM);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.out, StartsWith("{\"port\""));
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(CommandEnd, ACommandThatFillsTheOutputEndsWithIt) {
  FullPipe pipe;
  Circumstances how;
  how.output = pipe.path();
  Running running{host("tap:tp0", {"--quiet"}, {"echo", "in vain"}), how};
  ASSERT_TRUE(sandbox::wait_until([&] { return is_there("tp0"); }));
  running.send(SIGTERM);
  EXPECT_EQ(running.wait().status, 128 + SIGTERM);
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(CommandEnd, AReaderWhoComesLateGetsItAll) {
  FullPipe pipe;
  Circumstances how;
  how.output = pipe.path();
  Running running{host("tap:tp0", {}, {"true"}), how};
  ASSERT_TRUE(sandbox::wait_until([&] { return is_there("tp0"); }));
  std::string text;
  EXPECT_TRUE(
      sandbox::wait_until([&] { return (text += pipe.drain()).find("answered\n") != std::string::npos; }));
  EXPECT_EQ(running.wait().status, 0);
  EXPECT_THAT(text, HasSubstr("tap:tp0 is up"));
}

TEST(CommandOutput, HelpAndVersionThatCannotBeWrittenAreFailures) {
  for (const Words& words : {Words{"--help"}, Words{"host", "--help"}, Words{"--version"}}) {
    const auto finished = run(words, {.output = "/dev/full"});
    EXPECT_EQ(finished.status, 1);
    EXPECT_EQ(finished.err, "tunport: standard output: No space left on device; send it elsewhere\n");
  }
}

}  // namespace
}  // namespace tunport::command
