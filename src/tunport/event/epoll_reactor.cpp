#include "tunport/event/epoll_reactor.hpp"

#include <array>
#include <cerrno>
#include <new>
#include <string>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

namespace tunport {
namespace {

int control(int set, int operation, int fd, short events) {
  epoll_event event{};
  event.events = static_cast<std::uint32_t>(events);  // the bits of poll.h
  event.data.fd = fd;
  return ::epoll_ctl(set, operation, fd, &event) == 0 ? 0 : errno;
}

/// Calls a function at the end of the scope.
template <class Call>
class Finally {
 public:
  explicit Finally(Call call) : call_{call} {}
  ~Finally() { call_(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;

 private:
  Call call_;
};

}  // namespace

EpollReactor::EpollReactor()
    : epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)} {
  if (!epoll_ || !timer_) throw Error{errno_code(errno), "event loop"};
  if (const int error = control(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), POLLIN); error != 0)
    throw Error{errno_code(error), "event loop"};
  follow();
}

std::size_t EpollReactor::run_ready() {
  if (inside_) return 0;  // a handler runs the other loop
  wanted();               // from now on the descriptors may have events
  std::array<epoll_event, 64> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  inside_ = true;
  const Finally leave{[this] {
    inside_ = false;
    try {
      follow();
    } catch (const std::bad_alloc&) {  // the next turn follows
    }
    arm();
  }};
  std::size_t done = 0;
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == timer_.get()) {
      std::uint64_t expirations = 0;
      if (::read(timer_.get(), &expirations, sizeof expirations) > 0) armed_ = TimePoint::max();
    } else {
      done += dispatch(event.data.fd, static_cast<short>(event.events));
    }
  }
  return done + run_due();
}

void EpollReactor::add(Watched& fd) {
  PollReactor::add(fd);
  const int number = fd.fileno();
  const short events = events_of(fd);
  try {
    followed_[number] = events;
    if (const int error = control(epoll_.get(), EPOLL_CTL_ADD, number, events); error != 0)
      throw Error{errno_code(error), "descriptor " + std::to_string(number)};
  } catch (...) {
    PollReactor::remove(fd);
    followed_.erase(number);
    throw;
  }
}

void EpollReactor::remove(Watched& fd) noexcept {
  const int number = number_of(fd);
  PollReactor::remove(fd);
  if (followed_.erase(number) != 0) control(epoll_.get(), EPOLL_CTL_DEL, number, 0);
}

void EpollReactor::update(Watched& fd) {
  PollReactor::update(fd);
  if (!inside_) follow();
}

/// Brings the set into line with what is wanted.
void EpollReactor::follow() {
  for (const pollfd& entry : wanted()) {
    const auto [place, is_new] = followed_.try_emplace(entry.fd, entry.events);
    if (!is_new && place->second == entry.events) continue;
    control(epoll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, entry.fd, entry.events);
    place->second = entry.events;
  }
}

/// Sets the timer to the next deadline: at once for posted calls, whose event may be spent by a call that
/// threw.
void EpollReactor::arm() {
  const TimePoint deadline = next_deadline();
  if (deadline == armed_) return;
  armed_ = deadline;
  itimerspec when{};
  if (deadline != TimePoint::max()) {
    const auto since = std::max(deadline.time_since_epoch(), Duration{1});  // zero would disarm
    when.it_value.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(since).count();
    when.it_value.tv_nsec = std::chrono::nanoseconds(since % std::chrono::seconds{1}).count();
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

std::uint64_t EpollReactor::start_timer(Duration delay, std::function<void()> call) {
  const std::uint64_t id = PollReactor::start_timer(delay, std::move(call));
  if (!inside_) arm();
  return id;
}

}  // namespace tunport
