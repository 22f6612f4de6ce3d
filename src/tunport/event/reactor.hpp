#pragma once
/// The seam to an event loop: readiness, a clock, deferred calls. `AsioReactor` is the one most use;
/// `PollReactor` needs nothing and shows its inside to foreign loops; `testing/manual_reactor.hpp` runs in
/// virtual time.

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace tunport {

class FileDescriptor;

/// What a reactor watches: a descriptor, the directions that are wanted, and the calls for what happens.
/// Neither copied nor moved while it is watched.
class Watched {
 public:
  virtual ~Watched() = default;
  /// The descriptor's number; -1 when closed.
  virtual int fileno() const = 0;
  /// True while the reactor should tell of what can be read.
  virtual bool reading() const = 0;
  /// True while the reactor should tell that something can be written.
  virtual bool writing() const = 0;
  /// The reactor says: readable. It may say so in vain.
  virtual void do_read() = 0;
  /// The reactor says: writable. It may say so in vain.
  virtual void do_write() = 0;
  /// The reactor says: an error is pending. Called in every state, whatever is wanted.
  virtual void do_error() = 0;
};

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

/// An event loop. One thread runs it, and everything on it belongs to that thread; only `post` may be called
/// from another. It outlives what is registered with it and the timers it gave out.
class Reactor {
 public:
  virtual ~Reactor() = default;
  Reactor() = default;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// Watches `fd` from now on: always for errors, for reading and writing as `fd.reading()` and
  /// `fd.writing()` say. Precondition: its `fileno()` is open and not being watched. Throws `Error` if it
  /// cannot be watched.
  virtual void add(Watched& fd) = 0;
  /// Stops watching; nothing of `fd` is called afterwards. Must come before the descriptor is closed.
  /// Idempotent.
  virtual void remove(Watched& fd) noexcept = 0;
  /// `fd.reading()` or `fd.writing()` has changed. No effect if `fd` is not watched.
  virtual void update(Watched& fd) = 0;

  virtual TimePoint now() const = 0;
  /// Runs `call` on the reactor's thread as soon as it comes round; the one function that any thread may
  /// call.
  virtual void post(std::function<void()> call) = 0;

  /// Cancels the call when it goes. Default: nothing to cancel.
  class Timer {
   public:
    Timer() = default;
    Timer(Reactor& reactor, std::uint64_t id) : reactor_{&reactor}, id_{id} {}
    Timer(Timer&& other) noexcept : reactor_{std::exchange(other.reactor_, nullptr)}, id_{other.id_} {}
    Timer& operator=(Timer&& other) noexcept {
      if (this != &other) {
        cancel();
        reactor_ = std::exchange(other.reactor_, nullptr);
        id_ = other.id_;
      }
      return *this;
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer() { cancel(); }
    /// The call does not happen any more. No effect if it has happened.
    void cancel() noexcept {
      if (Reactor* const reactor = std::exchange(reactor_, nullptr)) reactor->cancel_timer(id_);
    }

   private:
    Reactor* reactor_ = nullptr;
    std::uint64_t id_ = 0;
  };

  /// Runs `call` once, `delay` from now, never before this returns. Keep the handle: the call is cancelled
  /// with it.
  [[nodiscard]] Timer call_later(Duration delay, std::function<void()> call) {
    return {*this, start_timer(delay, std::move(call))};
  }

  /// True while somebody holds a `Cork`: what descriptors are given to write they may gather.
  bool corked() const { return corks_ != 0; }
  /// What was gathered so far goes out, corks or not.
  void flush();

 protected:
  /// `id`s are not used again.
  virtual std::uint64_t start_timer(Duration delay, std::function<void()> call) = 0;
  /// No effect for a timer that has run or was cancelled.
  virtual void cancel_timer(std::uint64_t id) noexcept = 0;

 private:
  friend class Cork;
  friend class FileDescriptor;

  std::size_t corks_ = 0;
  std::vector<FileDescriptor*> gathering_;  // in the order in which they began
};

/// While one is held, what is written to the ports of a reactor is gathered, and joined into super-packets
/// where a device takes them; it goes out when the last one goes. A burst holds one. A program that writes
/// much at once, from a timer or before its loop runs, holds one for that long:
///
///     { Cork cork{reactor}; for (...) port.write(datagram); }
///
/// On the reactor's thread; hold it within one call, as nothing goes out meanwhile.
class Cork {
 public:
  explicit Cork(Reactor& reactor) : reactor_{reactor} { ++reactor_.corks_; }
  /// Still corked while it flushes: what a callback writes then goes out behind what was gathered before.
  ~Cork() {
    if (reactor_.corks_ == 1) reactor_.flush();
    --reactor_.corks_;
  }
  Cork(const Cork&) = delete;
  Cork& operator=(const Cork&) = delete;

 private:
  Reactor& reactor_;
};

/// The calling thread's own reactor: a `PollReactor`, made at the first call. For programs that bring no
/// loop.
class PollReactor;
PollReactor& default_reactor();

}  // namespace tunport
