#pragma once
/// A reactor behind a single descriptor, for programs that wait with another loop: libuv, Qt, GLib, an epoll
/// loop of their own.
///
///     tunport::EpollReactor reactor;
///     watch(reactor.fileno(), readable, [&] { reactor.run_ready(); });  // in the words of the other loop
///
/// Theory. The descriptor is an epoll set (epoll(7)), which another set may watch. The set has the watched
/// descriptors, an event for `post`, and a timer for the next deadline. Within `run_ready` changes of the
/// wanted directions are collected; elsewhere they reach the set at once, because nobody calls the reactor
/// before the other loop waits.

#include <unordered_map>

#include "tunport/event/poll_reactor.hpp"

namespace tunport {

/// See the theory above. `run` and `run_once` work, too.
class EpollReactor final : public PollReactor {
 public:
  /// Throws `Error` if no descriptor is left; trying again helps after a close.
  EpollReactor();

  /// A descriptor that is readable while `run_ready` has work. Valid as long as the reactor; do not read it.
  int fileno() const { return epoll_.get(); }
  /// Does what is ready without waiting, and returns the number of calls made. An exception of a handler is
  /// passed on; the next call goes on.
  std::size_t run_ready();

  void add(Watched& fd) override;
  void remove(Watched& fd) noexcept override;
  void update(Watched& fd) override;

 protected:
  std::uint64_t start_timer(Duration delay, std::function<void()> call) override;

 private:
  void follow();
  void arm();

  UniqueFd epoll_;
  UniqueFd timer_;
  TimePoint armed_ = TimePoint::max();
  std::unordered_map<int, short> followed_;  // events by descriptor, as the set has them
  bool inside_ = false;                      // within `run_ready`
};

}  // namespace tunport
