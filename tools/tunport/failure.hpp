#pragma once
/// How the command fails: one line, and a status.

#include <stdexcept>
#include <string>

namespace tunport::tool {

/// Statuses of the command's own; a COMMAND's status is its own.
namespace status {
inline constexpr int failed = 1;            ///< anything but wrong usage
inline constexpr int usage = 2;             ///< wrong usage
inline constexpr int not_executable = 126;  ///< COMMAND is there and cannot be run, as shells have it
inline constexpr int not_found = 127;       ///< there is no COMMAND of that name, as shells have it
inline constexpr int signalled = 128;       ///< and the signal's number, as shells have it
}  // namespace status

/// Ends the command with `status()`; `what()` is the line to say, the remedy included.
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
