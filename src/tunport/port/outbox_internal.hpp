#pragma once
/// The outcome of a write: refused, gathered, sent or queued. Every write of every port goes through an
/// outbox.
///
/// Theory. Four steps. **Check**: the sink objects to impossible packets, and a shut outbox refuses.
/// **Gather**: within a burst, or under a `Cork`, a joining sink keeps the packet. Gathered packets are sent,
/// in order, when the last `Cork` goes, when room is short, and before a write that cannot be gathered.
/// **Send**: the sink writes the packet, if nothing is queued. **Queue**: a packet that the kernel does not
/// take now is copied, bounded in bytes, and nothing overtakes the queue. The meaning of the kernel's answer
/// is decided by `fate_of`, and nowhere else.
///
/// Each drop is counted where it happens. Code of users runs in one place, `OutboxOwner::outbox_changed`,
/// last of all. A write that the kernel takes at once costs one look at `ready_` and the sink's system call.

#include <cerrno>
#include <new>
#include <utility>

#include "tunport/event/reactor.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/outbox_owner.hpp"
#include "tunport/port/port_options.hpp"
#include "tunport/port/sink_internal.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/port/write_queue_internal.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// See the theory above. Belongs to the reactor's thread. Made shut.
template <Sink S>
class Outbox final : public AnyOutbox {
 public:
  using Tag = typename S::Tag;

  /// `sink`, `owner`, `reactor` and `statistics` outlive the outbox. `limit` bounds the queue, in bytes;
  /// `largest` is the longest packet, in bytes.
  Outbox(S& sink, OutboxOwner& owner, const Reactor& reactor, Statistics& statistics, std::size_t limit,
         std::size_t largest)
      : sink_{sink}, owner_{owner}, reactor_{reactor}, statistics_{statistics}, queue_{limit, largest} {}

  /// Writes one packet. A packet with a `ticket` is not gathered, and the outcome of a queued one goes to
  /// `OutboxOwner::write_done`.
  WriteResult write(const Tag& tag, const Parts& parts, Ticket ticket = 0) {
    if (const auto reason = sink_.objection(tag, parts))
      return refuse(*reason, sink_.datagrams(tag, parts.size()));
    if (reactor_.corked() && sink_.gathers()) {
      if (ticket == 0 && gather(tag, parts)) return WriteResult::make_queued();
      send_gathered();  // the order is kept
    }
    const int error = ready_ ? sink_.write(tag, parts) : EAGAIN;
    return error == 0 ? WriteResult::make_sent() : send_or_queue(error, tag, parts, ticket);
  }

  /// Writes a packet of `size` bytes that `make(space)` makes: in the sink's memory if the packet is
  /// gathered, else in `space`. For sinks with `place_for` and `keep`. Precondition: the sink has no
  /// objection. An exception of `make` is passed on, and nothing is written.
  template <class Make>
  WriteResult write_made(const Tag& tag, std::size_t size, MutableBytes space, Make make) {
    if (ready_ && reactor_.corked() && sink_.gathers()) {
      MutableBytes place = sink_.place_for(tag, size);
      if (place.empty()) {
        send_gathered();
        if (ready_) place = sink_.place_for(tag, size);
      }
      if (!place.empty() && (flush_is_due_ || flush_later())) {
        make(place);
        if (!sink_.keep(size)) return refuse(DropReason::aborted);  // `make` has written to the port
        return WriteResult::make_queued();
      }
    }
    make(space.first(size));
    const Bytes made = space.first(size);
    return write(tag, {.bytes = {&made, 1}});
  }

  /// Tries once to send a packet, without queueing. Returns zero, or a positive errno; EAGAIN while packets
  /// are queued. Does not tell the owner. Precondition: `takes_writes`.
  int write_once(const Tag& tag, const Parts& parts) {
    send_gathered();
    if (sink_.objection(tag, parts)) return EINVAL;
    return ready_ ? sink_.write(tag, parts) : EAGAIN;
  }

  /// Counts `datagrams` as dropped for `reason`, and returns the refusal.
  WriteResult refuse(DropReason reason, std::size_t datagrams = 1, int error = 0) {
    count_drop(statistics_, reason, datagrams);
    return WriteResult::make_refused(reason, error);
  }

  std::size_t queued_bytes() const override { return queue_.bytes(); }

  void send_gathered() override {
    if (!sink_.has_gathered()) return;
    sink_.give(ready_, [this](const Tag& tag, const Parts& parts, std::size_t datagrams) {
      const int error = ready_ ? sink_.write(tag, parts) : EAGAIN;
      if (error != 0) settle(error, tag, parts, 0, datagrams);
    });
    flush_is_due_ = false;
  }

  void flush() override {
    flush_is_due_ = false;
    send_gathered();
    tell();
  }

  void drain() override {
    while (!queue_.empty()) {
      const Bytes packet = queue_.front_packet();
      if (const int error = sink_.write(queue_.front_tag(), {.bytes = {&packet, 1}}); error != 0) {
        const Fate fate = fate_of(error);
        if (fate.kind == Fate::wait) break;
        if (fate.kind == Fate::gone) set_gone();
        if (fate.kind == Fate::gone || fate.reason == DropReason::link_down) {
          drop(fate.reason);  // the whole queue: the rest would meet the same error
          break;
        }
        drop_front(fate.reason, fate.code);
      } else {
        pop_front({});
      }
    }
    changed_ = true;
    tell();
  }

  void drop(DropReason reason) override {
    while (!queue_.empty()) drop_front(reason, error_of(reason));
    changed_ = true;
  }

 private:
  bool gather(const Tag& tag, const Parts& parts) {
    if (!ready_) return false;
    if (!flush_is_due_ && !flush_later()) return false;
    if (!sink_.gather(tag, parts)) {
      send_gathered();
      if (!ready_ || (!flush_is_due_ && !flush_later()) || !sink_.gather(tag, parts)) return false;
    }
    return true;
  }

  /// False without memory for the request. Made before anything is gathered.
  bool flush_later() try {
    owner_.flush_later();
    return flush_is_due_ = true;
  } catch (const std::bad_alloc&) {
    return false;
  }

  /// The rare case: a packet that is not sent at once.
  [[gnu::noinline]] WriteResult send_or_queue(int error, const Tag& tag, const Parts& parts, Ticket ticket) {
    const std::size_t datagrams = sink_.datagrams(tag, parts.size());
    if (!open_) return refuse(DropReason::not_listening, datagrams);
    if (std::exchange(awaited_, false)) {
      changed_ = true;
      update_ready();
      if (ready_) error = sink_.write(tag, parts);
    }
    const WriteResult result =
        error == 0 ? WriteResult::make_sent() : settle(error, tag, parts, ticket, datagrams);
    tell();
    return result;
  }

  /// Queues or drops an unsent packet. Does not tell the owner.
  WriteResult settle(int error, const Tag& tag, const Parts& parts, Ticket ticket, std::size_t datagrams) {
    if (!open_) return refuse(gone_ ? DropReason::device_gone : DropReason::aborted, datagrams);
    const Fate fate = fate_of(error);
    if (fate.kind == Fate::gone) set_gone();
    if (fate.kind != Fate::wait) return refuse(fate.reason, datagrams, error);
    const bool first = queue_.empty();
    if (!queue_.push(tag, parts.bytes, ticket)) {
      const std::size_t done = first ? sink_.done() : 0;  // else `done` belongs to the packet at the front
      if (first) sink_.forget();
      return refuse(queue_.has_memory() ? DropReason::queue_full : DropReason::no_buffers, datagrams - done);
    }
    changed_ = true;
    update_ready();
    if (first) owner_.drain_later();
    return WriteResult::make_queued();
  }

  void set_gone() {
    gone_ = changed_ = true;
    set_open(false);
  }

  void drop_front(DropReason reason, const std::error_code& ec) {
    const std::size_t datagrams = sink_.datagrams(queue_.front_tag(), queue_.front_packet().size());
    count_drop(statistics_, reason, datagrams - sink_.done());
    pop_front(ec);
  }

  void pop_front(const std::error_code& ec) {
    const Ticket ticket = queue_.front_ticket();
    sink_.forget();
    queue_.pop();
    update_ready();
    if (ticket != 0) owner_.write_done(ticket, ec);
  }

  /// Last of all: the owner may destroy the outbox.
  void tell() {
    if (std::exchange(changed_, false)) owner_.outbox_changed();
  }

  S& sink_;
  OutboxOwner& owner_;
  const Reactor& reactor_;
  Statistics& statistics_;
  WriteQueue<Tag> queue_;
  bool changed_ = false;       // since the owner was told
  bool flush_is_due_ = false;  // the owner was told of the gathered packets
};

}  // namespace tunport
