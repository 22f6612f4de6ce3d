#pragma once
/// The two sides between a port and its outbox, for every kind of outbox.

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// The name of a write with an awaited outcome. 0: not awaited.
using Ticket = std::uint64_t;

/// An outbox's requests to the owning port.
class OutboxOwner {
 public:
  /// A packet was gathered: `AnyOutbox::flush` is due when the last `Cork` goes. Must not run code of users.
  virtual void flush_later() = 0;
  /// A queue has begun: `AnyOutbox::drain` is due when the kernel takes packets. Must not run code of users.
  virtual void drain_later() = 0;
  /// The queued write of `ticket` is sent (no error) or dropped (`ec`). Must not run code of users: an
  /// implementation posts the completion.
  virtual void write_done(Ticket ticket, const std::error_code& ec) = 0;
  /// The queue has grown or shrunk, the device is gone, or an awaited write has come. The last act of a call
  /// of the outbox, and the only place where code of users runs: an implementation may destroy the outbox.
  virtual void outbox_changed() = 0;

 protected:
  ~OutboxOwner() = default;
};

/// A port's requests to its outbox.
class AnyOutbox {
 public:
  virtual ~AnyOutbox() = default;
  AnyOutbox(const AnyOutbox&) = delete;
  AnyOutbox& operator=(const AnyOutbox&) = delete;

  /// Bytes of the queue, book-keeping included.
  virtual std::size_t queued_bytes() const = 0;
  /// True if nothing is queued.
  bool queue_empty() const { return queued_bytes() == 0; }
  /// True from `open` to `shut`, unless the device is gone.
  bool takes_writes() const { return open_; }
  /// True from the kernel's report that the device is gone until `open`.
  bool is_gone() const { return gone_; }

  /// Accepts writes from now on. Precondition: nothing is queued.
  void open() {
    gone_ = awaited_ = false;
    set_open(true);
  }
  /// Refuses writes from now on; the queue still drains.
  void shut() { set_open(false); }

  /// Sends what was gathered, and queues what the kernel does not take. Runs no code of users: the next call
  /// that tells the owner tells of the change too. For a port that continues its own work afterwards.
  virtual void send_gathered() = 0;
  /// As `send_gathered`, and tells the owner last of all.
  virtual void flush() = 0;
  /// Sends the queue, as far as the kernel takes packets; a link that is down empties the queue. Tells the
  /// owner last of all.
  virtual void drain() = 0;
  /// Drops the queue, counted as `reason`. Does not tell the owner.
  virtual void drop(DropReason reason) = 0;

  /// Has `outbox_changed` called after the next tried write as well, once.
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

  bool ready_ = false;  // a write may go to the kernel at once, without further checks
  bool open_ = false;
  bool gone_ = false;
  bool awaited_ = false;  // the owner is told after the next write
};

}  // namespace tunport
