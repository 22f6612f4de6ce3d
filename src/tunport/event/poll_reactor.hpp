#pragma once
/// A reactor on poll(2), which shows its inside: what it waits for and until when. So it serves three ways:
/// run it (`run`), step it (`run_once`), or let a loop of another library do the waiting (the foreign-loop
/// contract).

#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include <poll.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// The foreign-loop contract. Whoever waits with another loop: watch `fileno()`s of `wanted()` for their
/// events (refresh after each turn), wake at `next_deadline()`, then call `dispatch(fd, revents)` for each
/// that is ready and `run_due()`. `POLLERR` and `POLLHUP` must be passed on whether asked for or not.
class PollReactor : public Reactor {
 public:
  /// Throws `Error` if there is no descriptor left for waking it up.
  PollReactor();
  ~PollReactor() override;

  void add(Watched& fd) override;
  void remove(Watched& fd) noexcept override;
  void update(Watched& fd) override;
  TimePoint now() const override { return Clock::now(); }
  void post(std::function<void()> call) override;

  /// Runs until `stop`, or until nothing is watched, no timer is pending and nothing is posted.
  void run();
  /// Waits at most `longest` for something to do, does what is ready, returns how much that was.
  std::size_t run_once(Duration longest);
  /// `run` returns after the present call. From the reactor's thread; elsewhere, `post` it.
  void stop() { stopped_ = true; }

  /// What to wait for: one entry for each watched descriptor, and one by which `post` wakes the loop. Valid
  /// until the next call of anything here.
  const std::vector<pollfd>& wanted();
  /// When `run_due` has something to do; `TimePoint::max()` if never.
  TimePoint next_deadline() const;
  /// The descriptor `fd` is ready for `revents` (poll.h). Returns how many calls were made.
  std::size_t dispatch(int fd, short revents);
  /// Runs what was posted and the timers that are due; not those that are started meanwhile.
  std::size_t run_due();

 protected:
  std::uint64_t start_timer(Duration delay, std::function<void()> call) override;
  void cancel_timer(std::uint64_t id) noexcept override;
  bool idle() const;

 private:
  struct Watch {
    int number;  // as it was when added: the descriptor may be closed when it is removed
    Watched* fd;
    bool offered;  // by `wanted`: what became ready before that was another descriptor of the same number
  };

  std::vector<Watch> watches_;
  std::vector<pollfd> wanted_;
  bool wanted_stale_ = true;
  std::vector<pollfd> ready_;
  std::map<std::pair<TimePoint, std::uint64_t>, std::function<void()>> timers_;
  std::map<std::uint64_t, TimePoint> deadlines_;
  std::uint64_t last_timer_ = 0;
  bool stopped_ = false;

  mutable std::mutex mutex_;
  std::deque<std::function<void()>> posted_;
  UniqueFd wake_;
};

}  // namespace tunport
