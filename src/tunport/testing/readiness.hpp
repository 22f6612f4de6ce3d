#pragma once
/// A real descriptor whose readiness is set by hand: what the fake kernel gives out.
///
/// Theory. The descriptor is one end of an AF_UNIX stream pair; the other end stays here. It is readable
/// while a byte lies in it, writable unless its (small) send buffer was filled, and hung up, with an error
/// pending, once this end was closed. The close(2) of its owner is seen as a hang-up at this end, so whoever
/// holds it closes it as any other. It is known by its inode rather than by its number: so it may be
/// duplicated, moved and passed on.

#include <cstdint>

#include "tunport/base/unique_fd.hpp"

namespace tunport {

/// See the theory above. Used from one thread.
class Readiness {
 public:
  /// Makes the descriptor, writable and not readable. `flags`: O_NONBLOCK and O_CLOEXEC, as for open(2). The
  /// number, which the caller owns, or a negated errno.
  int open(int flags);

  /// What stays the same when the descriptor is duplicated; 0 for what is not one of these.
  static std::uint64_t identity_of(int fd);
  std::uint64_t identity() const { return identity_; }
  /// It was used under this number: spares a search.
  void seen_at(int fd) { number_ = fd; }

  void set_readable(bool readable);
  void set_writable(bool writable);
  /// An error and a hang-up are pending from now on. Final.
  void hang_up();
  /// Every copy of the descriptor was closed. Not known of one that was hung up: false.
  bool abandoned() const;

 private:
  int number();
  void fill(int fd);

  UniqueFd ours_;
  std::uint64_t identity_ = 0;
  int number_ = -1;
  bool readable_ = false;
  bool writable_ = true;
};

}  // namespace tunport
