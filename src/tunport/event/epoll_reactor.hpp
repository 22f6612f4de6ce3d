#pragma once
/// A reactor on epoll(7): for many descriptors, and behind a single descriptor for programs that wait with
/// another loop: libuv, Qt, GLib, an epoll loop of their own.
///
///     tunport::EpollReactor reactor;
///     watch(reactor.fileno(), readable, [&] { reactor.run_ready(); });  // in the words of the other loop
///
/// Theory. The descriptor is an epoll set, which another set may watch. The set has the watched descriptors,
/// an event for `post`, and a timer for the next deadline. A turn costs the ready descriptors only, however
/// many are watched. Within a turn changes of the wanted directions are collected; elsewhere they reach the
/// set at once, because nobody calls the reactor before the other loop waits.

#include <memory>
#include <unordered_map>
#include <vector>

#include "tunport/event/poll_reactor.hpp"

namespace tunport {

/// See the theory above. `run` and `run_once` are for programs without another loop.
class EpollReactor final : public PollReactor {
 public:
  /// Throws `Error` if no descriptor is left; trying again helps after a close.
  EpollReactor();
  ~EpollReactor() override;

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
  struct Entry;
  class Turn;

  std::size_t wait(Duration longest) override;
  bool watches_any() const override { return !entries_.empty(); }
  std::size_t handle(Entry& entry, unsigned events);
  void follow(Entry& entry);
  void follow_changes();
  void arm();

  UniqueFd epoll_;
  UniqueFd timer_;
  TimePoint armed_ = TimePoint::max();
  std::unordered_map<Watched*, std::unique_ptr<Entry>> entries_;
  std::vector<Watched*> changed_;   // within a turn
  std::unique_ptr<Entry> removed_;  // within a turn: reported events may name them still
  int depth_ = 0;                   // of turns: a handler may run the loop
};

}  // namespace tunport
