#include "tunport/event/epoll_reactor.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

namespace tunport {
namespace {

int control(int set, int operation, int fd, short events, void* entry) {
  epoll_event event{};
  event.events = static_cast<std::uint32_t>(events);  // the bits of poll.h
  event.data.ptr = entry;
  return ::epoll_ctl(set, operation, fd, &event) == 0 ? 0 : errno;
}

}  // namespace

/// A watched descriptor, or after its removal a place that events may name until the end of the turn.
struct EpollReactor::Entry {
  Watched* fd;  // null after the removal
  int number;   // as of `add`: the descriptor may be closed at its removal
  short events;
  bool is_changed = false;
  std::unique_ptr<Entry> next = nullptr;  // of the removed
};

/// A turn of the loop. At the end of the outermost the set has what is wanted.
class EpollReactor::Turn {
 public:
  explicit Turn(EpollReactor& reactor) : reactor_{reactor} { ++reactor_.depth_; }
  ~Turn() {
    if (--reactor_.depth_ != 0) return;
    while (reactor_.removed_) reactor_.removed_ = std::move(reactor_.removed_->next);
    reactor_.follow_changes();
    reactor_.arm();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  EpollReactor& reactor_;
};

EpollReactor::EpollReactor()
    : epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)} {
  if (!epoll_ || !timer_) throw Error{errno_code(errno), "event loop"};
  int error = control(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), POLLIN, &timer_);
  if (error == 0) error = control(epoll_.get(), EPOLL_CTL_ADD, wake_fd(), POLLIN, nullptr);
  if (error != 0) throw Error{errno_code(error), "event loop"};
}

EpollReactor::~EpollReactor() = default;

std::size_t EpollReactor::run_ready() {
  if (depth_ != 0) return 0;  // a handler runs the other loop
  const Turn turn{*this};
  try {
    const std::size_t done = wait(Duration::zero());
    return done + run_due();
  } catch (...) {
    wake_for_posted();  // their event may be spent
    throw;
  }
}

/// The timer ends a wait at its deadline, so the time of a wait is of use only if it is shorter.
std::size_t EpollReactor::wait(Duration longest) {
  const Turn turn{*this};
  follow_changes();
  arm();
  int milliseconds = -1;
  if (longest == Duration::zero()) {
    milliseconds = 0;
  } else if (longest != Duration::max()) {
    const TimePoint deadline = next_timer();
    if (deadline == TimePoint::max() || now() + longest < deadline)
      milliseconds = static_cast<int>(std::clamp<std::int64_t>(
          std::chrono::ceil<std::chrono::milliseconds>(longest).count(), 0, INT32_MAX));
  }
  std::array<epoll_event, 64> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), milliseconds);
  std::size_t done = 0;
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.ptr == nullptr) {
      woken();
    } else if (event.data.ptr == &timer_) {
      std::uint64_t expirations = 0;
      if (::read(timer_.get(), &expirations, sizeof expirations) > 0) armed_ = TimePoint::max();
    } else {
      done += handle(*static_cast<Entry*>(event.data.ptr), event.events);
    }
  }
  return done;
}

/// Calls for the events of a descriptor. Each call may remove it.
std::size_t EpollReactor::handle(Entry& entry, unsigned events) {
  if (entry.fd == nullptr) return 0;
  if ((events & (POLLERR | POLLHUP | POLLPRI)) != 0) {
    entry.fd->do_error();
    return 1;
  }
  std::size_t done = 0;
  if ((events & POLLIN) != 0 && entry.fd->reading()) {
    entry.fd->do_read();
    ++done;
  }
  if ((events & POLLOUT) != 0 && entry.fd != nullptr && entry.fd->writing()) {
    entry.fd->do_write();
    ++done;
  }
  return done;
}

void EpollReactor::add(Watched& fd) {
  const int number = fd.fileno();
  auto entry = std::make_unique<Entry>(Entry{&fd, number, events_of(fd)});
  Entry* const place = entry.get();
  if (changed_.capacity() < entries_.size() + 1) changed_.reserve(2 * entries_.size() + 16);
  const bool is_new = entries_.try_emplace(&fd, std::move(entry)).second;
  const int error = is_new ? control(epoll_.get(), EPOLL_CTL_ADD, number, place->events, place) : EEXIST;
  if (error == 0) return;
  if (is_new) entries_.erase(&fd);
  throw Error{errno_code(error), "descriptor " + std::to_string(number)};
}

void EpollReactor::remove(Watched& fd) noexcept {
  const auto found = entries_.find(&fd);
  if (found == entries_.end()) return;
  std::unique_ptr<Entry> entry = std::move(found->second);
  entries_.erase(found);
  if (entry->is_changed) std::erase(changed_, &fd);
  control(epoll_.get(), EPOLL_CTL_DEL, entry->number, 0, nullptr);
  if (depth_ == 0) return;
  entry->fd = nullptr;
  entry->next = std::move(removed_);
  removed_ = std::move(entry);
}

void EpollReactor::update(Watched& fd) {
  const auto found = entries_.find(&fd);
  if (found == entries_.end()) return;
  if (depth_ == 0) return follow(*found->second);
  if (std::exchange(found->second->is_changed, true)) return;
  changed_.push_back(&fd);  // within the reserved room
}

/// Brings the set into line with what a descriptor wants.
void EpollReactor::follow(Entry& entry) {
  entry.is_changed = false;
  const short events = events_of(*entry.fd);
  if (events == entry.events) return;
  entry.events = events;
  control(epoll_.get(), EPOLL_CTL_MOD, entry.number, events, &entry);
}

void EpollReactor::follow_changes() {
  for (Watched* const fd : changed_) follow(*entries_.at(fd));
  changed_.clear();
}

/// Sets the timer to the next deadline.
void EpollReactor::arm() {
  const TimePoint deadline = next_timer();
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
  if (depth_ == 0) arm();
  return id;
}

}  // namespace tunport
