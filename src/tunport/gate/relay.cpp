#include "tunport/gate/relay.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

namespace tunport {
namespace {

constexpr std::size_t pipe_size = std::size_t{1} << 20;
constexpr std::size_t turn_size = std::size_t{1} << 20;
constexpr int turn_reads = 16;
constexpr std::size_t copy_size = std::size_t{16} << 10;
constexpr auto urgent_rest = std::chrono::milliseconds{10};

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);  // a Unix socket has no options of TCP
}

/// The pending error of a socket, or zero.
int pending_error(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

bool is_reset(int error) {
  return error == ECONNRESET || error == EPIPE || error == ENOTCONN || error == ECONNABORTED;
}

}  // namespace

/// Keeps the SIGPIPE of a splice(2) from the thread, from `begin` on. A signal that was pending before stays.
class Relay::WithoutSigpipe {
 public:
  WithoutSigpipe() = default;
  void begin() {
    if (std::exchange(begun_, true)) return;
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t before;
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before);
    blocked_before_ = sigismember(&before, SIGPIPE) == 1;
    if (!blocked_before_) return;
    sigset_t pending;
    pending_before_ = ::sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  }
  ~WithoutSigpipe() {
    if (begun_ && !blocked_before_) ::pthread_sigmask(SIG_UNBLOCK, &pipe_, nullptr);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

  /// Takes off the signal of a call that failed with EPIPE.
  void take_off() const {
    constexpr timespec at_once{};
    if (!pending_before_) ::sigtimedwait(&pipe_, nullptr, &at_once);
  }

 private:
  sigset_t pipe_{};
  bool begun_ = false;
  bool blocked_before_ = false;
  bool pending_before_ = false;
};

PipePool::PipePool(std::size_t most_idle) : most_idle_{most_idle} { idle_.reserve(most_idle); }

PipePool::Pipe PipePool::take() noexcept {
  {
    const std::lock_guard lock{mutex_};
    if (!idle_.empty()) {
      Pipe kept = std::move(idle_.back());
      idle_.pop_back();
      return kept;
    }
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return {};
  ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(pipe_size));  // refused: the pipe stays as it is
  return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void PipePool::give(Pipe pipe) noexcept {
  const std::lock_guard lock{mutex_};
  if (idle_.size() < most_idle_) idle_.push_back(std::move(pipe));  // within the reserved room
}

std::size_t PipePool::idle() const {
  const std::lock_guard lock{mutex_};
  return idle_.size();
}

Relay::Relay(Reactor& reactor, PipePool& pipes, UniqueFd a, UniqueFd b, const RelayOptions& options,
             Done done)
    : reactor_{reactor},
      pipes_{pipes},
      idle_timeout_{options.idle_timeout},
      result_{options.progress != nullptr ? options.progress : &own_},
      done_{std::move(done)},
      a_{*this, std::move(a)},
      b_{*this, std::move(b)},
      to_b_{a_, b_, result_->a_to_b},
      to_a_{b_, a_, result_->b_to_a} {
  *result_ = {};
  try {
    for (Side* const side : {&a_, &b_}) {
      const int socket = side->socket.get();
      if (const int flags = ::fcntl(socket, F_GETFL); (flags & O_NONBLOCK) == 0)
        ::fcntl(socket, F_SETFL, flags | O_NONBLOCK);
      set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
      set_option(socket, SOL_SOCKET, SO_OOBINLINE, 1);
      side->wants_read = true;
      watch(*side);
    }
    if (idle_timeout_ > Duration::zero()) {
      last_move_ = reactor_.now();
      timer_ = reactor_.call_later(idle_timeout_, [this] { look_for_idleness(); });
    }
  } catch (...) {
    result_->end = RelayEnd::failed;
    close();
    throw;
  }
}

Relay::~Relay() {
  if (!over_) {
    result_->end = RelayEnd::cancelled;
    close();
  }
}

void Relay::cancel() {
  if (over_) return;
  end(RelayEnd::cancelled, Errc::operation_aborted);
  close();
  timer_ = reactor_.call_later(Duration::zero(), [this] { tell(); });
}

void Relay::watch(Side& side) {
  reactor_.add(side);
  side.watched = true;
}

void Relay::unwatch(Side& side) noexcept {
  if (std::exchange(side.watched, false)) reactor_.remove(side);
}

void Relay::readable(Side& side) {
  pump(way_from(side), false);
  settle();
}

void Relay::writable(Side& side) {
  pump(way_to(side), false);
  settle();
}

void Relay::troubled(Side& side) {
  if (const int error = pending_error(side.socket.get()); error != 0) {
    lose(side, error);
    return settle();
  }
  pollfd state{side.socket.get(), POLLPRI, 0};
  ::poll(&state, 1, 0);
  if ((state.revents & POLLHUP) != 0) {
    side.hung_up = true;
    unwatch(side);
    pump(way_from(side), true);
    pump(way_to(side), false);
  } else if ((state.revents & POLLPRI) != 0) {
    pump(way_from(side), true);
    state.revents = 0;
    if (!over_ && ::poll(&state, 1, 0) == 1 && (state.revents & POLLPRI) != 0) {
      unwatch(side);  // the mark is behind bytes for which the other side has no room
      side.rest = reactor_.call_later(urgent_rest, [this, &side] { rested(side); });
    }
  }
  settle();
}

void Relay::rested(Side& side) {
  try {
    watch(side);
  } catch (const Error& error) {
    end(RelayEnd::failed, error.code());
  }
  settle();
}

void Relay::look_for_idleness() {
  const TimePoint deadline = last_move_ + idle_timeout_;
  const TimePoint now = reactor_.now();
  if (now >= deadline) {
    end(RelayEnd::idle, {});
    return settle();
  }
  timer_ = reactor_.call_later(deadline - now, [this] { look_for_idleness(); });
}

/// Moves bytes until a side has no more, the way ends, or the turn's share is used. `urgent`: the first side
/// has urgent data, or may have no more to say.
void Relay::pump(Way& way, bool urgent) {
  if (over_ || way.wait == Wait::over) return;
  WithoutSigpipe guard;
  const std::uint64_t before = way.count;
  Step step = Step::moved;
  for (int reads = 0; reads < turn_reads && way.count - before < turn_size && step == Step::moved; ++reads) {
    // A report of bytes that splice(2) does not see means urgent data.
    if (way.held == 0) step = fill(way, urgent || reads == 0);
    if (way.held != 0) step = drain(way, guard);
  }
  if (way.held == 0 && way.pipe) pipes_.give(std::exchange(way.pipe, {}));
  if (step == Step::failed) return;
  if (step == Step::ended) return end_of_stream(way);
  if (step == Step::no_bytes && way.from.hung_up) return lose(way.from, ECONNRESET);
  way.wait = way.held != 0 || step == Step::no_room || way.from.hung_up ? Wait::for_room : Wait::for_bytes;
}

/// Reads into the empty pipe. Precondition: the way holds no bytes.
Relay::Step Relay::fill(Way& way, bool may_copy) {
  if (way.copies) return copy(way);
  if (!way.pipe) way.pipe = pipes_.take();
  if (!way.pipe) return copy(way);
  const ssize_t got = ::splice(way.from.socket.get(), nullptr, way.pipe.in.get(), nullptr, pipe_size,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got > 0) {
    way.held = static_cast<std::size_t>(got);
    return Step::moved;
  }
  if (got == 0) return copy(way);  // the end of the stream, or bytes behind an urgent mark and then the end
  if (errno == EINVAL || errno == ENOSYS) {
    way.copies = true;
    return copy(way);
  }
  if (errno == EAGAIN && may_copy) return copy(way);
  return stopped(way, way.from, errno);
}

/// Writes from the pipe. Precondition: the way holds bytes.
Relay::Step Relay::drain(Way& way, WithoutSigpipe& guard) {
  guard.begin();
  // The size is exact: with a larger one some kernels hold back the last segment for more to come.
  const ssize_t put = ::splice(way.pipe.out.get(), nullptr, way.to.socket.get(), nullptr, way.held,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (put < 0) {
    const int error = errno;
    if (error == EPIPE) guard.take_off();
    return stopped(way, way.to, error);
  }
  way.held -= static_cast<std::size_t>(put);
  count(way, static_cast<std::size_t>(put));
  return way.held == 0 ? Step::moved : Step::no_room;
}

/// Moves a part without a pipe. The part is taken when it has been sent.
Relay::Step Relay::copy(Way& way) {
  std::array<std::byte, copy_size> part;
  const int from = way.from.socket.get();
  const ssize_t seen = ::recv(from, part.data(), part.size(), MSG_PEEK | MSG_DONTWAIT);
  if (seen == 0) return Step::ended;
  if (seen < 0) return stopped(way, way.from, errno);
  const ssize_t put =
      ::send(way.to.socket.get(), part.data(), static_cast<std::size_t>(seen), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put < 0) return stopped(way, way.to, errno);
  count(way, static_cast<std::size_t>(put));
  for (auto left = static_cast<std::size_t>(put); left != 0;) {
    const ssize_t taken = ::recv(from, part.data(), left, MSG_DONTWAIT);
    if (taken <= 0) {
      if (taken < 0 && errno == EINTR) continue;
      lose(way.from, taken < 0 ? errno : ECONNRESET);  // not reached: the bytes were there
      return Step::failed;
    }
    left -= static_cast<std::size_t>(taken);
  }
  return Step::moved;
}

/// The step after a call on `side` failed with `error`.
Relay::Step Relay::stopped(Way& way, Side& side, int error) {
  if (error == EINTR) return &side == &way.to ? Step::no_room : Step::moved;
  if (error == EAGAIN || error == ENOMEM || error == ENOBUFS)
    return &side == &way.to ? Step::no_room : Step::no_bytes;
  lose(side, error);
  return Step::failed;
}

void Relay::end_of_stream(Way& way) {
  way.wait = Wait::over;
  if (to_a_.wait == Wait::over && to_b_.wait == Wait::over)
    return end(RelayEnd::closed, {});  // close(2) ends it
  if (::shutdown(way.to.socket.get(), SHUT_WR) != 0) {
    const int error = errno;
    const int pending = pending_error(way.to.socket.get());
    lose(way.to, pending != 0 ? pending : error);
  }
}

void Relay::count(Way& way, std::size_t bytes) {
  way.count += bytes;
  moved_ = true;
}

void Relay::lose(Side& side, int error) {
  if (over_) return;
  if (is_reset(error))
    end(&side == &a_ ? RelayEnd::reset_by_a : RelayEnd::reset_by_b, {});
  else
    end(RelayEnd::failed, errno_code(error));
  pass_the_rest(way_from(side));
}

/// Passes on what arrived before the reset, as far as the other side has room: as without a relay.
void Relay::pass_the_rest(Way& way) {
  if (way.wait == Wait::over) return;
  WithoutSigpipe guard;
  const std::uint64_t before = way.count;
  for (Step step = Step::moved; step == Step::moved && way.count - before < turn_size;) {
    if (way.held == 0) step = fill(way, false);
    if (way.held != 0) step = drain(way, guard);
  }
}

void Relay::end(RelayEnd how, const std::error_code& why) {
  if (std::exchange(over_, true)) return;
  result_->end = how;
  why_ = why;
}

/// Gives everything back, and resets the sockets unless both streams are complete.
void Relay::close() noexcept {
  constexpr linger reset{.l_onoff = 1, .l_linger = 0};
  for (Side* const side : {&a_, &b_}) {
    unwatch(*side);
    side->rest.cancel();
    if (!side->socket) continue;
    if (result_->end != RelayEnd::closed)
      ::setsockopt(side->socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    side->socket.reset();
  }
  for (Way* const way : {&to_a_, &to_b_}) {
    if (way->pipe && way->held == 0) pipes_.give(std::move(way->pipe));
    way->pipe = {};
  }
  timer_.cancel();
}

/// The last act of each event: the end, or the events to wait for.
void Relay::settle() {
  if (over_) {
    close();
    return tell();
  }
  if (std::exchange(moved_, false) && idle_timeout_ > Duration::zero()) last_move_ = reactor_.now();
  for (Side* const side : {&a_, &b_}) {
    const bool read = way_from(*side).wait == Wait::for_bytes;
    const bool write = way_to(*side).wait == Wait::for_room;
    if (read == side->wants_read && write == side->wants_write) continue;
    side->wants_read = read;
    side->wants_write = write;
    if (side->watched) reactor_.update(*side);
  }
}

void Relay::tell() {
  const Done done = std::move(done_);
  const RelayResult result = *result_;
  if (done) done(why_, result);
}

}  // namespace tunport
