#pragma once
/// Sockets of a sandbox, for a process that stays outside.

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport::tool {

struct GateSandbox;

/// A process inside that makes sockets on demand, and hands them over. The destructor ends the process.
class InsideSockets {
 public:
  /// Precondition: one thread. Throws `Failure`.
  explicit InsideSockets(const GateSandbox& sandbox);
  ~InsideSockets();
  InsideSockets(const InsideSockets&) = delete;
  InsideSockets& operator=(const InsideSockets&) = delete;

  /// A socket of `family` (AF_INET, AF_INET6) and `type` (SOCK_STREAM, SOCK_DGRAM), non-blocking. Empty, with
  /// errno, for a failure.
  UniqueFd make(int family, int type) const;

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace tunport::tool
