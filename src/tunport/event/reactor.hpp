#pragma once
/// The seam to an event loop: readiness, a clock, deferred calls. Most programs use `AsioReactor`.
/// `PollReactor` needs no library and serves foreign loops. `ManualReactor` (testing) runs in virtual time.

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "tunport/base/cxx20.hpp"

namespace tunport {

class FileDescriptor;

/// A descriptor for a reactor to watch: its number, the wanted directions, and the calls for its events.
/// Neither copied nor moved while watched.
class Watched {
 public:
  virtual ~Watched() = default;
  /// The descriptor's number; -1 when closed.
  virtual int fileno() const = 0;
  /// True while the reactor should report readable.
  virtual bool reading() const = 0;
  /// True while the reactor should report writable.
  virtual bool writing() const = 0;
  /// The descriptor is readable. The report may be in vain.
  virtual void do_read() = 0;
  /// The descriptor is writable. The report may be in vain.
  virtual void do_write() = 0;
  /// An error is pending. Called in every state, whichever directions are wanted.
  virtual void do_error() = 0;
};

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

/// An event loop. One thread runs the reactor, and owns everything on it; only `post` may be called from
/// another thread. The reactor outlives its registered descriptors and its timers.
class Reactor {
 public:
  virtual ~Reactor() = default;
  Reactor() = default;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// Watches `fd` from now on: always for errors, for reading and writing as `fd.reading()` and
  /// `fd.writing()` say. `fd` is borrowed until removed. Precondition: `fd.fileno()` is open and not watched.
  /// Throws `Error` if the kernel cannot watch the descriptor.
  virtual void add(Watched& fd) = 0;
  /// Stops watching; nothing of `fd` is called afterwards. Must come before the descriptor is closed.
  /// Idempotent.
  virtual void remove(Watched& fd) noexcept = 0;
  /// `fd.reading()` or `fd.writing()` has changed. No effect if `fd` is not watched.
  virtual void update(Watched& fd) = 0;

  /// The present time of the reactor's clock.
  virtual TimePoint now() const = 0;
  /// Runs `call` on the reactor's thread, in the next turn. Any thread may call `post`.
  virtual void post(std::function<void()> call) = 0;

  /// A handle of a pending call; the destructor cancels the call. A default-made handle is empty.
  class Timer {
   public:
    Timer() = default;
    /// The handle of a timer with the id, for reactors.
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
    /// Cancels the call. No effect after the call has run.
    void cancel() noexcept {
      if (Reactor* const reactor = std::exchange(reactor_, nullptr)) reactor->cancel_timer(id_);
    }

   private:
    Reactor* reactor_ = nullptr;
    std::uint64_t id_ = 0;
  };

  /// Runs `call` once, after `delay`, never before `call_later` returns. Keep the handle: its destructor
  /// cancels the call.
  [[nodiscard]] Timer call_later(Duration delay, std::function<void()> call) {
    return {*this, start_timer(delay, std::move(call))};
  }

  /// True while a `Cork` exists: descriptors may gather their writes.
  bool corked() const { return corks_ != 0; }
  /// Sends what was gathered so far, corked or not.
  void flush();

 protected:
  /// Starts a timer and returns its id. An id is not used again.
  virtual std::uint64_t start_timer(Duration delay, std::function<void()> call) = 0;
  /// Cancels a timer. No effect on a timer that has run or was cancelled.
  virtual void cancel_timer(std::uint64_t id) noexcept = 0;

 private:
  friend class Cork;
  friend class FileDescriptor;

  std::size_t corks_ = 0;
  std::vector<FileDescriptor*> gathering_;  // in the order in which they began
};

/// Gathers what is written to the ports of a reactor while a `Cork` exists. Gathered packets are joined into
/// super-packets if the device takes them, and go out when the last `Cork` goes. Each burst holds a `Cork`. A
/// program that writes much at once, from a timer or before its loop runs, holds a `Cork` meanwhile:
///
///     { Cork cork{reactor}; for (...) port.write(datagram); }
///
/// For the reactor's thread. Hold a `Cork` within one call only: gathered packets wait for its end.
class Cork {
 public:
  /// Corks `reactor`, which outlives the `Cork`.
  explicit Cork(Reactor& reactor) : reactor_{reactor} { ++reactor_.corks_; }
  /// Flushes, corked still: a callback's writes go out behind the gathered packets.
  ~Cork() {
    if (reactor_.corks_ == 1) reactor_.flush();
    --reactor_.corks_;
  }
  Cork(const Cork&) = delete;
  Cork& operator=(const Cork&) = delete;

 private:
  Reactor& reactor_;
};

/// The calling thread's own reactor: a `PollReactor`, made at the first call. For programs without a loop.
class PollReactor;
PollReactor& default_reactor();

}  // namespace tunport
