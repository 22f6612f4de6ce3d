#pragma once
/// COMMAND: a child process that does not outlive us.
///
/// Theory. The kernel kills COMMAND if we die first (PR_SET_PDEATHSIG), but forgets that when COMMAND becomes
/// another user or gets capabilities from its file. So a third process, the guard, holds a descriptor of
/// COMMAND (pidfd) and the reading end of a pipe whose other end is ours alone. When that end closes, the
/// guard kills COMMAND. The guard has a session of its own and blocks all signals, so that what ends our
/// process group does not end the guard first, and it holds nothing else of ours. Linux before 5.3 has no
/// pidfd, and so no guard. Neither we nor the guard can kill the process of another user without privilege:
/// `send` says so.

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport::tool {

/// A running child. Destroying it kills it, if it still runs, and reaps it; one that we may not signal is
/// left alone.
class Child {
 public:
  /// Where the child's standard output goes.
  enum class Output : bool { ours, to_stderr };

  /// Starts `command`, looked up in PATH, with SIGINT, SIGTERM, SIGCHLD and SIGPIPE as every program expects
  /// them and no signal blocked. The kernel kills it if we die first. Throws `Failure` (`not_found`,
  /// `not_executable`) if it cannot be run, `failed` if there is no process for it. Precondition: `command`
  /// is not empty; one thread.
  static Child start(const std::vector<std::string>& command, Output output);

  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Reaps it if it has ended. Its exit status, or 128 and the signal that killed it. Precondition: not
  /// reaped yet.
  std::optional<int> poll();
  /// Sends it a signal. False if that is not permitted: it has become another user.
  bool send(int signal) const;
  /// True if it is in our process group, and so gets what a terminal sends.
  bool in_our_group() const;
  pid_t pid() const { return pid_; }

 private:
  explicit Child(pid_t pid) : pid_{pid} {}
  void start_guard(const std::string& name);

  pid_t pid_;
  pid_t guard_ = -1;
  UniqueFd life_;  // the guard waits for its end
};

}  // namespace tunport::tool
