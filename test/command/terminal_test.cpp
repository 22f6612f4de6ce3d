/// `tunport host` on a terminal.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class CommandTerminal : public sandbox::KernelTest {
 protected:
  /// Runs the command on a terminal of that many columns, and types Ctrl-C once it has said `ready`. In `out`
  /// is all that the terminal shows.
  static Finished run_on_terminal(const Words& words, const std::string& ready,
                                  unsigned short columns = 120) {
    std::vector<char*> argv{const_cast<char*>("tunport")};
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string program = path();
    const winsize size{24, columns, 0, 0};
    int terminal = -1;
    const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
    if (child == 0) {
      ::execv(program.c_str(), argv.data());
      ::_exit(99);
    }
    Finished finished;
    EXPECT_GT(child, 0);
    if (child < 0) return finished;
    const UniqueFd owner{terminal};
    bool typed = false;
    char buffer[256];
    for (ssize_t got = 0;
         sandbox::wait_readable(terminal) && (got = ::read(terminal, buffer, sizeof buffer)) > 0;) {
      finished.out.append(buffer, static_cast<std::size_t>(got));
      if (!typed && finished.out.find(ready) != std::string::npos) typed = ::write(terminal, "\x03", 1) == 1;
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return finished;
  }
};

TEST_F(CommandTerminal, AnInterruptReachesTheCommandOnce) {
  // The shell counts; its sleeps are short, since the terminal interrupts them too.
  const auto finished = run_on_terminal(
      host("tap:tp0", {"--quiet"},
           {"sh", "-c", "trap 'echo got' INT; echo ready; for i in 1 2 3 4 5 6; do sleep 0.1; done; exit 9"}),
      "ready");
  EXPECT_EQ(finished.status, 9) << finished.out;
  const auto first = finished.out.find("got");
  ASSERT_NE(first, std::string::npos) << finished.out;
  EXPECT_EQ(finished.out.find("got", first + 1), std::string::npos) << finished.out;
}

TEST_F(CommandTerminal, TheSummaryBeginsALineAfterAnInterrupt) {
  const auto table = run_on_terminal(host("tap:tp0"), "is up");
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.out, HasSubstr("^C\r\ntap:tp0  "));
  EXPECT_THAT(run_on_terminal(host("tap:tp0", {"--json"}), "is up").out, HasSubstr("^C\r\n{\"port\""));
  EXPECT_THAT(run_on_terminal(host("tap:tp0", {}, {"sh", "-c", "echo ready; exec sleep 9"}), "ready").out,
              HasSubstr("^C\r\ntap:tp0  "));
  EXPECT_THAT(run_on_terminal(host("tap:tp0", {}, {"true"}), "never said").out, Not(HasSubstr("\n\r\n")));
}

TEST_F(CommandTerminal, ADropIsExplainedWhereThereIsRoom) {
  const Words words = host("tun:tp0", {}, {"ping", "-q", "-c", "1", "-W", "1", "10.77.0.9"});
  EXPECT_THAT(run_on_terminal(words, "never said", 200).out, HasSubstr("  a datagram for another host\r\n"));
  const auto narrow = run_on_terminal(words, "never said", 60).out;
  EXPECT_THAT(narrow, Not(HasSubstr("a datagram for another host")));
  EXPECT_THAT(narrow, EndsWith("'tunport host --explain REASON' says more of a drop\r\n"));
}

}  // namespace
}  // namespace tunport::command
