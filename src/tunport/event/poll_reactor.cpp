#include "tunport/event/poll_reactor.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/eventfd.h>

#include "tunport/base/error.hpp"

namespace tunport {

PollReactor::PollReactor() : wake_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
  if (!wake_) throw Error{errno_code(errno), "event loop"};
}

PollReactor::~PollReactor() = default;

void PollReactor::add(Watched& fd) {
  const int number = fd.fileno();
  if (number < 0) throw Error{errno_code(EBADF), "descriptor " + std::to_string(fd.fileno())};
  if (std::ranges::find(watches_, number, &Watch::number) != watches_.end())
    throw Error{errno_code(EEXIST), "descriptor " + std::to_string(fd.fileno())};
  watches_.push_back({number, &fd, false});
  wanted_stale_ = true;
}

void PollReactor::remove(Watched& fd) noexcept {
  std::erase_if(watches_, [&](const Watch& watch) { return watch.fd == &fd; });
  wanted_stale_ = true;
}

void PollReactor::update(Watched&) { wanted_stale_ = true; }

void PollReactor::post(std::function<void()> call) {
  const std::lock_guard lock{mutex_};
  posted_.push_back(std::move(call));
  ::eventfd_write(wake_.get(), 1);
}

const std::vector<pollfd>& PollReactor::wanted() {
  if (wanted_stale_) {
    wanted_.clear();
    wanted_.push_back({wake_.get(), POLLIN, 0});
    for (Watch& watch : watches_) {
      watch.offered = true;
      wanted_.push_back({watch.number, events_of(*watch.fd), 0});
    }
    wanted_stale_ = false;
  }
  return wanted_;
}

TimePoint PollReactor::next_deadline() const {
  {
    const std::lock_guard lock{mutex_};
    if (!posted_.empty()) return TimePoint::min();
  }
  return next_timer();
}

TimePoint PollReactor::next_timer() const {
  return timers_.empty() ? TimePoint::max() : timers_.begin()->first.first;
}

// POLLPRI stands for the error watch of a descriptor that neither reads nor writes: with no event armed the
// kernel does not report a deleted device.
short PollReactor::events_of(const Watched& fd) {
  return static_cast<short>(POLLPRI | (fd.reading() ? POLLIN : 0) | (fd.writing() ? POLLOUT : 0));
}

void PollReactor::woken() const {
  eventfd_t ignored = 0;
  ::eventfd_read(wake_.get(), &ignored);
}

void PollReactor::wake_for_posted() const {
  const std::lock_guard lock{mutex_};
  if (!posted_.empty()) ::eventfd_write(wake_.get(), 1);
}

std::size_t PollReactor::dispatch(int number, short revents) {
  if (number == wake_.get()) {
    woken();
    return 0;
  }
  // Each call may remove the descriptor, or put another in its place: look the number up anew.
  const auto call = [&](int events, auto wants, auto member) -> std::size_t {
    if ((revents & events) == 0) return 0;
    const auto found = std::ranges::find(watches_, number, &Watch::number);
    if (found == watches_.end() || !found->offered || !wants(*found->fd)) return 0;
    (found->fd->*member)();
    return 1;
  };
  const auto always = [](const Watched&) { return true; };
  if (const auto errors = call(POLLERR | POLLHUP | POLLNVAL | POLLPRI, always, &Watched::do_error);
      errors != 0)
    return errors;
  return call(POLLIN, std::mem_fn(&Watched::reading), &Watched::do_read) +
         call(POLLOUT, std::mem_fn(&Watched::writing), &Watched::do_write);
}

std::size_t PollReactor::run_due() {
  std::size_t done = 0;
  // Take one call at a time, so that the rest stay posted if a call throws.
  const auto next_posted = [this] {
    const std::lock_guard lock{mutex_};
    std::function<void()> call;
    if (!posted_.empty()) {
      call = std::move(posted_.front());
      posted_.pop_front();
    }
    return call;
  };
  std::size_t waiting = 0;
  {
    const std::lock_guard lock{mutex_};
    waiting = posted_.size();
  }
  for (; waiting > 0; --waiting) {
    const auto call = next_posted();
    if (!call) break;  // a callback ran this loop
    call();
    ++done;
  }
  const TimePoint limit = now();
  const std::uint64_t last = last_timer_;
  for (auto next = timers_.begin(); next != timers_.end() && next->first.first <= limit;) {
    if (next->first.second > last) {
      ++next;
      continue;
    }
    const auto call = std::move(next->second);
    deadlines_.erase(next->first.second);
    timers_.erase(next);
    call();
    ++done;
    next = timers_.begin();
  }
  return done;
}

std::size_t PollReactor::run_once(Duration longest) {
  const TimePoint deadline = next_deadline();
  Duration time = Duration::zero();
  if (deadline == TimePoint::max())
    time = longest;
  else if (deadline != TimePoint::min())
    time = std::clamp(deadline - now(), Duration::zero(), longest);
  const std::size_t done = wait(time);
  return done + run_due();
}

std::size_t PollReactor::wait(Duration longest) {
  ready_ = wanted();
  timespec timeout{};
  timeout.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(longest).count();
  timeout.tv_nsec = std::chrono::nanoseconds(longest % std::chrono::seconds{1}).count();
  std::size_t done = 0;
  if (::ppoll(ready_.data(), ready_.size(), longest == Duration::max() ? nullptr : &timeout, nullptr) > 0) {
    std::vector<pollfd> ready;
    ready.swap(ready_);  // a callback may run this loop again
    for (const pollfd& entry : ready)
      if (entry.revents != 0) done += dispatch(entry.fd, entry.revents);
    ready_ = std::move(ready);
  }
  return done;
}

void PollReactor::run() {
  stopped_ = false;
  while (!stopped_ && (watches_any() || next_deadline() != TimePoint::max())) run_once(Duration::max());
}

std::uint64_t PollReactor::start_timer(Duration delay, std::function<void()> call) {
  const TimePoint start = now();
  const TimePoint at = start + std::clamp(delay, Duration::zero(), TimePoint::max() - start);
  const auto deadline = deadlines_.emplace(++last_timer_, at).first;
  try {
    timers_.emplace(std::pair{at, last_timer_}, std::move(call));
  } catch (...) {
    deadlines_.erase(deadline);
    throw;
  }
  return last_timer_;
}

void PollReactor::cancel_timer(std::uint64_t id) noexcept {
  const auto found = deadlines_.find(id);
  if (found == deadlines_.end()) return;
  timers_.erase({found->second, id});
  deadlines_.erase(found);
}

PollReactor& default_reactor() {
  static thread_local PollReactor reactor;
  return reactor;
}

}  // namespace tunport
