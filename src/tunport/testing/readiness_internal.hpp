#pragma once
/// A real descriptor with readiness set by hand, for the fake kernel.
///
/// Theory. The descriptor is an end of an AF_UNIX stream pair; the second end stays here. The descriptor is
/// readable while a byte waits, and writable unless its (small) send buffer is full. A close of the second
/// end hangs up the descriptor, with a pending error. A close(2) of the descriptor is seen as a hang-up at
/// the second end, so a program closes the descriptor as usual. An inode, not a number, identifies the
/// descriptor: a program may duplicate, move and pass on the descriptor.

#include <cstdint>

#include "tunport/base/unique_fd.hpp"

namespace tunport {

/// A descriptor, and its readiness. For a single thread.
class Readiness {
 public:
  /// Makes the descriptor, writable and not readable. `flags`: O_NONBLOCK and O_CLOEXEC, as for open(2).
  /// Returns the descriptor, owned by the caller, or a negated errno.
  int open(int flags);

  /// The inode of a socket, the same for all copies of a descriptor; 0 for another kind of file.
  static std::uint64_t identity_of(int fd);
  /// The inode of the descriptor.
  std::uint64_t identity() const { return identity_; }
  /// Notes a number of the descriptor, and spares a search.
  void seen_at(int fd) { number_ = fd; }

  /// Makes the descriptor readable, or not.
  void set_readable(bool readable);
  /// Makes the descriptor writable, or not.
  void set_writable(bool writable);
  /// Makes an error and a hang-up pending. Final.
  void hang_up();
  /// True after the close of every copy of the descriptor. False after `hang_up`.
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
