#pragma once
/// The owner of a file descriptor.

#include <utility>

#include <unistd.h>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// Owns a file descriptor, and closes it at destruction. -1 stands for no descriptor.
class UniqueFd {
 public:
  /// No descriptor.
  UniqueFd() = default;
  /// Takes the ownership of `fd`.
  explicit UniqueFd(int fd) noexcept : fd_{fd} {}
  UniqueFd(UniqueFd&& other) noexcept : fd_{other.release()} {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  /// The descriptor, or -1. The ownership stays.
  int get() const noexcept { return fd_; }
  /// True with a descriptor.
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor away: the caller closes it.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the descriptor and owns `fd` from now on.
  void reset(int fd = -1) noexcept {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace tunport
