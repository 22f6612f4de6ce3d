#pragma once
/// The two sides between a port and its outbox, whatever the outbox writes to.

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// Names a write whose fate is asked for. 0: nobody asks.
using Ticket = std::uint64_t;

/// What an outbox asks of the port that owns it.
class OutboxOwner {
 public:
  /// A packet was gathered: `AnyOutbox::flush` is due when the reactor is uncorked. Runs no code of users.
  virtual void flush_later() = 0;
  /// A queue has begun: `AnyOutbox::drain` is due when the kernel takes packets. Runs no code of users.
  virtual void drain_later() = 0;
  /// A queued write has met its fate. Runs no code of users: a completion is posted.
  virtual void write_done(Ticket ticket, const std::error_code& ec) = 0;
  /// The queue has grown or shrunk, the device is gone, or an awaited write has come. The last thing that a
  /// call of the outbox does, and the one place from which code of users runs: the outbox may be destroyed.
  virtual void outbox_changed() = 0;

 protected:
  ~OutboxOwner() = default;
};

/// What a port asks of its outbox in the course of the port's life.
class AnyOutbox {
 public:
  virtual ~AnyOutbox() = default;
  AnyOutbox(const AnyOutbox&) = delete;
  AnyOutbox& operator=(const AnyOutbox&) = delete;

  /// Bytes that wait in the queue, book-keeping included.
  virtual std::size_t queued_bytes() const = 0;
  bool queue_empty() const { return queued_bytes() == 0; }
  /// True from `open` to `shut`, unless the device is gone.
  bool takes_writes() const { return open_; }
  /// True once the kernel has said that the device is gone; until `open`.
  bool is_gone() const { return gone_; }

  /// Takes writes from now on. Precondition: nothing is queued.
  void open() {
    gone_ = awaited_ = false;
    set_open(true);
  }
  /// Refuses writes from now on; what is queued still drains.
  void shut() { set_open(false); }

  /// Sends what was gathered, and queues what the kernel does not take. Runs no code of users: the change is
  /// told with the next call that tells. For a port that goes on with itself.
  virtual void send_gathered() = 0;
  /// The same; tells the owner last of all.
  virtual void flush() = 0;
  /// Sends what was queued, as far as the kernel takes it; a link that is down empties the queue. Tells the
  /// owner last of all.
  virtual void drain() = 0;
  /// Drops what was queued, counted. Tells nobody.
  virtual void drop(DropReason reason) = 0;

  /// `outbox_changed` is called also after the next write that is tried, if only once.
  void await_write() {
    awaited_ = true;
    update_ready();
  }
  /// True from `await_write` until a write is tried.
  bool awaits_write() const { return awaited_; }

 protected:
  AnyOutbox() = default;
  void set_open(bool open) {
    open_ = open;
    update_ready();
  }
  void update_ready() { ready_ = open_ && !awaited_ && queue_empty(); }

  bool ready_ = false;  // a write may go to the kernel at once, with nothing else to look at
  bool open_ = false;
  bool gone_ = false;
  bool awaited_ = false;  // the next write is told of
};

}  // namespace tunport
