#pragma once
/// A reactor on poll(2). A program runs the reactor (`run`) or steps it (`run_once`). `EpollReactor` is for
/// loops of other libraries, and `ManualReactor` (testing) runs in virtual time.

#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include <poll.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// A loop: `PollReactor reactor; TuntapPort port{reactor, ...}; port.start_listening(); reactor.run();`
class PollReactor : public Reactor {
 public:
  /// Throws `Error` if no descriptor is left for waking the loop; trying again helps after a close.
  PollReactor();
  ~PollReactor() override;

  void add(Watched& fd) override;
  void remove(Watched& fd) noexcept override;
  void update(Watched& fd) override;
  TimePoint now() const override { return Clock::now(); }
  void post(std::function<void()> call) override;

  /// Runs until `stop`, or until nothing is watched, pending or posted.
  void run();
  /// Waits at most `longest` for work, does the ready work, and returns the number of calls made.
  std::size_t run_once(Duration longest);
  /// Makes `run` return after the present call. For the reactor's thread; `post` the call from elsewhere.
  void stop() { stopped_ = true; }

 protected:
  /// The events to wait for: an entry for each watched descriptor, and an entry by which `post` wakes the
  /// loop. Valid until the next call of any member.
  const std::vector<pollfd>& wanted();
  /// The time of the next work of `run_due`; `TimePoint::max()` if never.
  TimePoint next_deadline() const;
  /// The time of the next timer; `TimePoint::max()` without one.
  TimePoint next_timer() const;
  /// Handles `revents` (poll.h) of the ready descriptor `fd`. Returns the number of calls made.
  std::size_t dispatch(int fd, short revents);
  /// Runs the posted calls and the due timers, except timers started meanwhile. Returns the number of calls
  /// made.
  std::size_t run_due();

  std::uint64_t start_timer(Duration delay, std::function<void()> call) override;
  void cancel_timer(std::uint64_t id) noexcept override;
  /// The events that `fd` wants (poll.h).
  static short events_of(const Watched& fd);
  /// The descriptor by which `post` wakes the loop.
  int wake_fd() const { return wake_.get(); }
  /// `wake_fd` was readable.
  void woken() const;
  /// Makes `wake_fd` readable if calls are posted.
  void wake_for_posted() const;

 private:
  /// Waits at most `longest` for descriptors, and handles what is ready. Returns the number of calls made.
  virtual std::size_t wait(Duration longest);
  /// True while a descriptor is watched.
  virtual bool watches_any() const { return !watches_.empty(); }

  struct Watch {
    int number;  // as of `add`: the descriptor may be closed at its removal
    Watched* fd;
    bool offered;  // by `wanted`: earlier events belong to a former descriptor of the same number
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
