#pragma once
/// How the command fails: with a line, and a status.

#include <stdexcept>
#include <string>

namespace tunport::tool {

/// Statuses of the command's own, beside the status of COMMAND.
namespace status {
inline constexpr int failed = 1;            ///< anything but wrong usage
inline constexpr int usage = 2;             ///< wrong usage
inline constexpr int not_executable = 126;  ///< COMMAND exists and cannot be run, as in shells
inline constexpr int not_found = 127;       ///< COMMAND does not exist, as in shells
inline constexpr int signalled = 128;       ///< plus the signal's number, as in shells
}  // namespace status

/// Ends the command with `status()`; `what()` is the line for the user, with the remedy.
class Failure : public std::runtime_error {
 public:
  Failure(int status, const std::string& line) : std::runtime_error{line}, status_{status} {}
  int status() const noexcept { return status_; }

 private:
  int status_;
};

/// Wrong usage: the line, and where to read more.
inline Failure usage_failure(const std::string& line) {
  return {status::usage, line + "; see 'tunport host --help'"};
}

}  // namespace tunport::tool
