#pragma once
/// The descriptors of a forked process.

#include <algorithm>

#include <unistd.h>

namespace tunport::tool {

/// Closes the descriptors from `first` up to `end`, without `end`. Safe after fork.
inline void close_all(int first, int end) {
  if (first >= end || ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(end - 1), 0) == 0)
    return;
  for (int fd = first; fd < std::min(end, static_cast<int>(::sysconf(_SC_OPEN_MAX))); ++fd) ::close(fd);
}

}  // namespace tunport::tool
