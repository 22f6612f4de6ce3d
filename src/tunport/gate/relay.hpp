#pragma once
/// A relay of bytes between two connected stream sockets, on any reactor. With completion tokens:
/// `relay(a, b, token)` of asio_relay.hpp.
///
/// Theory. A relay has two ways, which are independent of each other. On each way the kernel moves bytes from
/// a socket into a pipe, and from the pipe to the other socket (splice(2)): the bytes stay in the kernel, as
/// references to pages where the kernel can. A way reads only while its pipe is empty; while the other socket
/// takes no more, nothing is read, so the sender is held back by its own socket (backpressure), and a way
/// holds at most a pipe full of bytes.
///
/// A way owns a pipe only while bytes are in the pipe. Empty pipes go back to a `PipePool`, so idle relays
/// have no pipes. Without a descriptor for a pipe (EMFILE, ENFILE), and at the mark of urgent data, where
/// splice(2) stops, a way copies instead: a part is looked at (MSG_PEEK), sent, and only then taken, by the
/// size that was sent. So the bytes that wait stay in the socket here, too.
///
/// The end of a stream (FIN) is passed on by shutdown(2) when the pipe is empty; the other way goes on (half
/// close). Any other end of a socket is passed on as a reset (SO_LINGER with zero seconds), and ends both
/// ways at once: a stream that was cut off never looks complete. Bytes that arrived before the reset are
/// passed on in front of it as far as the other socket has room; the rest is dropped.
///
/// A turn of a way moves about 1 MiB or makes 16 reads, then the loop has its turn. Nothing is allocated for
/// bytes. A splice(2) to a reset socket raises SIGPIPE, without a flag to prevent it; the signal is blocked
/// for the thread during a turn, and taken off again.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <system_error>
#include <vector>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// Why a relay ended.
enum class RelayEnd : std::uint8_t {
  closed,      ///< both streams ended in order, and all bytes were passed on
  reset_by_a,  ///< socket a was reset by its peer, or closed without taking all bytes
  reset_by_b,  ///< the same of socket b
  idle,        ///< no byte was moved for `RelayOptions::idle_timeout`
  cancelled,   ///< by the program
  failed,      ///< a socket failed otherwise, as the error code says: ETIMEDOUT, EHOSTUNREACH
};

/// The counters of a relay, and its end.
struct RelayResult {
  std::uint64_t a_to_b = 0;  ///< bytes that socket b has taken
  std::uint64_t b_to_a = 0;  ///< bytes that socket a has taken
  /// Valid when the relay is over.
  RelayEnd end = RelayEnd::closed;
};

/// The options of a relay.
struct RelayOptions {
  /// The relay ends, with resets, if no byte was moved for so long. A peer that takes nothing counts as idle.
  /// Zero: never.
  Duration idle_timeout{};
  /// The live counters, written by the relay's thread. Borrowed, and outlives the relay. May be null.
  RelayResult* progress = nullptr;
};

/// Pipes for relays. Thread-safe. Outlives its relays.
class PipePool {
 public:
  /// Both ends of a pipe; without descriptors if there was none to be had.
  struct Pipe {
    UniqueFd out;  ///< to read from
    UniqueFd in;   ///< to write to
    explicit operator bool() const noexcept { return static_cast<bool>(out); }
  };

  /// Keeps up to `most_idle` pipes (two descriptors each) for later; further ones are closed.
  explicit PipePool(std::size_t most_idle = 64);

  /// An empty pipe, kept or new: of 1 MiB, or smaller where the user's limit is reached
  /// (/proc/sys/fs/pipe-user-pages-soft). None without a free descriptor or memory.
  Pipe take() noexcept;
  /// Takes an empty pipe back.
  void give(Pipe pipe) noexcept;
  /// The number of pipes kept for later.
  std::size_t idle() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Pipe> idle_;
  const std::size_t most_idle_;
};

/// See the theory above. Belongs to its reactor's thread.
///
///     Relay relay{reactor, pipes, std::move(client), std::move(server), {},
///                 [](const std::error_code&, const RelayResult& result) { ... }};
class Relay {
 public:
  /// Called once, at the end. The error is set if the end is `cancelled` (`Errc::operation_aborted`) or
  /// `failed`. May destroy the relay.
  using Done = std::function<void(const std::error_code&, const RelayResult&)>;

  /// Relays from now on, as the reactor runs. `reactor` and `pipes` are borrowed and outlive the relay. `a`
  /// and `b` are connected stream sockets, TCP or Unix; the relay makes them non-blocking and sets
  /// TCP_NODELAY and SO_OOBINLINE. Urgent bytes become ordinary ones; descriptors sent over Unix sockets
  /// are not passed on. A Unix socket has no reset: its peer sees an end. Throws `Error` if a socket cannot
  /// be watched, with both closed; trying again helps if `is_transient`.
  Relay(Reactor& reactor, PipePool& pipes, UniqueFd a, UniqueFd b, const RelayOptions& options, Done done);
  /// Resets both sockets, unless the relay is over. `Done` is not called.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// Resets both sockets at once. `Done` is called in a later turn. No effect when the relay is over.
  void cancel();
  /// The counters so far.
  const RelayResult& result() const { return *result_; }

 private:
  struct Side final : Watched {
    Side(Relay& of, UniqueFd owned) : relay{of}, socket{std::move(owned)} {}
    int fileno() const override { return socket.get(); }
    bool reading() const override { return wants_read; }
    bool writing() const override { return wants_write; }
    void do_read() override { relay.readable(*this); }
    void do_write() override { relay.writable(*this); }
    void do_error() override { relay.troubled(*this); }

    Relay& relay;
    UniqueFd socket;
    bool wants_read = false;
    bool wants_write = false;
    bool watched = false;
    bool hung_up = false;   // reads and writes end at once, and the loop would report the state for ever
    Reactor::Timer rest{};  // urgent data, which the loop would report for ever
  };
  enum class Wait : std::uint8_t { for_bytes, for_room, over };
  struct Way {
    Side& from;
    Side& to;
    std::uint64_t& count;
    PipePool::Pipe pipe{};
    std::size_t held = 0;  // bytes in the pipe
    Wait wait = Wait::for_bytes;
    bool copies = false;  // splice(2) does not know this kind of socket
  };
  class WithoutSigpipe;
  enum class Step : std::uint8_t { moved, no_bytes, no_room, ended, failed };

  void watch(Side& side);
  void unwatch(Side& side) noexcept;
  void readable(Side& side);
  void writable(Side& side);
  void troubled(Side& side);
  void rested(Side& side);
  void look_for_idleness();

  Way& way_from(Side& side) { return &side == &a_ ? to_b_ : to_a_; }
  Way& way_to(Side& side) { return &side == &a_ ? to_a_ : to_b_; }
  void pump(Way& way, bool urgent);
  Step fill(Way& way, bool may_copy);
  Step drain(Way& way, WithoutSigpipe& guard);
  Step copy(Way& way);
  Step stopped(Way& way, Side& side, int error);
  void end_of_stream(Way& way);
  void count(Way& way, std::size_t bytes);

  void lose(Side& side, int error);
  void pass_the_rest(Way& way);
  void end(RelayEnd how, const std::error_code& why);
  void close() noexcept;
  void settle();
  void tell();

  Reactor& reactor_;
  PipePool& pipes_;
  Duration idle_timeout_;
  RelayResult own_{};
  RelayResult* result_;
  Done done_;
  Side a_;
  Side b_;
  Way to_b_;
  Way to_a_;
  bool over_ = false;
  bool moved_ = false;
  std::error_code why_{};
  TimePoint last_move_{};
  Reactor::Timer timer_{};
};

}  // namespace tunport
