#pragma once
/// COMMAND: a child process with our lifetime at the most.
///
/// Theory. The kernel kills COMMAND at our death (PR_SET_PDEATHSIG), but forgets to after COMMAND became
/// another user or got capabilities from a file. So a third process, the guard, holds a descriptor of COMMAND
/// (pidfd) and the reading end of a pipe whose writing end is ours alone. At the close of the writing end the
/// guard kills COMMAND. The guard has a session of its own and blocks all signals, so a signal to our process
/// group does not end the guard first. The guard has no further descriptors. Linux before 5.3 has no pidfd,
/// and so no guard. Without privilege neither we nor the guard can signal the process of another user: `send`
/// says so.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"

#include "account.hpp"

namespace tunport::tool {

/// A running child. The destructor kills and reaps a child that still runs, and leaves a child alone that we
/// may not signal.
class Child {
 public:
  /// Where the child's standard output goes.
  enum class Output : bool { ours, to_stderr };

  /// Starts `command`, looked up in PATH, with SIGINT, SIGTERM, SIGCHLD and SIGPIPE as every program expects
  /// them and no signal blocked. With `account` as that user, with HOME, USER and LOGNAME accordingly. Throws
  /// `Failure`: `not_found` or `not_executable` for a command that cannot be run, `failed` without a process
  /// for the command. Precondition: `command` is not empty; one thread.
  /// `enter` runs in the child, before the command: zero, or the errno that the command cannot be run for.
  static Child start(const std::vector<std::string>& command, Output output,
                     const std::optional<Account>& account = {}, const std::function<int()>& enter = {});

  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Reaps the child if the child has ended. Returns the exit status, or 128 and the number of the deadly
  /// signal. Precondition: not reaped yet.
  std::optional<int> poll();
  /// Sends a signal. False if the kernel does not permit to: the child has become another user.
  bool send(int signal) const;
  /// True if the child is in our process group, and so gets the signals of a terminal.
  bool in_our_group() const;
  pid_t pid() const { return pid_; }

 private:
  explicit Child(pid_t pid) : pid_{pid} {}
  void start_guard(const std::string& name);

  pid_t pid_;
  pid_t guard_ = -1;
  UniqueFd life_;  // the guard waits for the close
};

}  // namespace tunport::tool
