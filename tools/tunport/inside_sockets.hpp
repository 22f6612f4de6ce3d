#pragma once
/// Sockets of a sandbox, for a process that stays outside.
///
/// Theory. A socket belongs to the network namespace in which it was made, whichever process holds it. So a
/// small process, the maker, enters the sandbox, makes sockets on demand and hands them over (SCM_RIGHTS).
/// The maker has no other descriptors, a session of its own and all signals blocked, and COMMAND cannot trace
/// it (PR_SET_DUMPABLE). The end of our process ends the maker. Answers bear the number of their request: an
/// answer that comes too late is not taken for the next one's.

#include <cstdint>
#include <functional>

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport::tool {

/// See the theory above. The destructor ends the maker.
class InsideSockets {
 public:
  /// Starts the maker, which calls `enter` first: zero, or the errno for which there is no way in.
  /// Precondition: one thread. Throws `Failure`.
  explicit InsideSockets(const std::function<int()>& enter);
  ~InsideSockets();
  InsideSockets(const InsideSockets&) = delete;
  InsideSockets& operator=(const InsideSockets&) = delete;

  /// A socket of `family` (AF_INET, AF_INET6) and `type` (SOCK_STREAM, SOCK_DGRAM), non-blocking. Empty for a
  /// failure, with errno, which is not zero: the maker's own; EMFILE without room for the socket here;
  /// ETIMEDOUT without an answer within a second; EPIPE or ECONNRESET without a maker.
  UniqueFd make(int family, int type);
  /// The maker's.
  pid_t pid() const { return pid_; }

 private:
  void end() noexcept;

  UniqueFd line_;
  pid_t pid_ = -1;
  std::uint32_t turn_ = 0;
};

}  // namespace tunport::tool
