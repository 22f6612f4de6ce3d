#pragma once
/// COMMAND: a child process that does not outlive us.

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace tunport::tool {

/// A running child. Destroying it kills it, if it still runs, and reaps it.
class Child {
 public:
  /// Where the child's standard output goes.
  enum class Output : bool { ours, to_stderr };

  /// Starts `command`, looked up in PATH, with SIGINT, SIGTERM, SIGCHLD and SIGPIPE as every program expects
  /// them and no signal blocked. The kernel kills it if we die first. Throws `Failure` (`not_found`,
  /// `not_executable`) if it cannot be run, `failed` if there is no process for it. Precondition: `command`
  /// is not empty; one thread.
  static Child start(const std::vector<std::string>& command, Output output);

  Child(Child&& other) noexcept : pid_{other.pid_} { other.pid_ = -1; }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Reaps it if it has ended. Its exit status, or 128 and the signal that killed it. Precondition: not
  /// reaped yet.
  std::optional<int> poll();
  /// Sends it a signal.
  void send(int signal) const;
  /// True if it is in our process group, and so gets what a terminal sends.
  bool in_our_group() const;

 private:
  explicit Child(pid_t pid) : pid_{pid} {}
  pid_t pid_;
};

}  // namespace tunport::tool
