#pragma once
/// Running the command as its users do: as a process, with its output and its status.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport::command {

using Words = std::vector<std::string>;

/// The path of the command.
std::string path();

/// Under which circumstances it runs. All but the default need root (`sandbox::is_real_root`).
struct Circumstances {
  uid_t user = 0;                  ///< another user, without any privilege
  uid_t sudo = 0;                  ///< who called sudo, with a group one higher; 0: nobody did
  std::string clone_device = {};   ///< what /dev/net/tun is, by a private mount
  bool no_driver = false;          ///< there is no /dev/net/tun
  std::string no_namespaces = {};  ///< of this kind, "user" or "net", no more can be made
  /// Done by the child as root in a mount namespace of its own, which is private; false is a failure.
  std::function<bool()> mounts = {};
  std::vector<int> ignored = {};  ///< signals that it starts with ignored; all others have their default
  std::string output = {};        ///< a file for its stdout, which is not read then
  std::string program = path();   ///< run this instead of the command
};

/// What became of it.
struct Finished {
  int status = -1;  ///< the exit status; 128 + N if a signal N ended it
  std::string out;
  std::string err;
};

/// The command, running. Killed when it goes.
class Running {
 public:
  explicit Running(const Words& arguments, const Circumstances& circumstances = {});
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running();

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  /// What it has said so far.
  std::string out() const;
  std::string err() const;
  /// Waits until its output contains `text`; false if it does not in time.
  bool has_said(const std::string& text) const;
  /// Waits for its end; status -1 if it took too long, and is killed.
  Finished wait(std::chrono::milliseconds longest = std::chrono::seconds{20});

 private:
  pid_t pid_ = -1;
  UniqueFd out_;
  UniqueFd err_;
};

/// Runs it to its end.
Finished run(const Words& arguments, const Circumstances& circumstances = {});

/// `tunport host PORT --interface-address 10.77.0.1/24 --host-address 10.77.0.2 OPTION... -- COMMAND...`
Words host(const std::string& port, const Words& options = {}, const Words& command = {});

std::vector<std::string> lines(const std::string& text);

}  // namespace tunport::command
