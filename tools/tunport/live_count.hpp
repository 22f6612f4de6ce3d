#pragma once
/// A line on a terminal that is written over each second.

#include <functional>
#include <string>

#include "tunport/event/reactor.hpp"

namespace tunport::tool {

/// Shows what `text` says, once a second, where it changes. The destructor clears the line.
class LiveCount {
 public:
  /// On the terminal `fd`; `reactor` outlives the count.
  LiveCount(Reactor& reactor, int fd, std::function<std::string()> text);
  ~LiveCount();
  LiveCount(const LiveCount&) = delete;
  LiveCount& operator=(const LiveCount&) = delete;

 private:
  void show();

  Reactor& reactor_;
  int fd_;
  std::function<std::string()> text_;
  std::string shown_;
  Reactor::Timer timer_;
};

/// "999 B", "1.0 kB", "25.3 GB": three digits or so, by powers of 1000.
std::string short_size(std::uint64_t bytes);

}  // namespace tunport::tool
