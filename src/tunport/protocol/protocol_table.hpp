#pragma once
/// Protocols by number: the common part of the demultiplexers.
///
/// Theory. The table is a vector, sorted by number. A callback of a protocol may add and remove protocols,
/// and may stop, start or destroy the owner. Code that calls protocols therefore has a `Hold`: during a hold
/// entries keep their places, a removal empties an entry, and an addition appends an entry. The end of the
/// last hold sorts the table.
///
/// A life of the table lasts from a start to a stop. Each start of a protocol has one stop. A stop within a
/// start stops the protocols that have started; a start within a stop first finishes the stop. The outer call
/// notices the change by the number of lives, and leaves the rest to the inner call.
///
/// A range knows the protocol being called. A range that ends before its last protocol was left by an
/// exception: the table remembers the protocol. So a delivery names a thrower without a try block.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tunport/port/protocol.hpp"

namespace tunport {

/// Protocols by number; several protocols of a number keep the order of their additions. Additions and
/// removals are allowed at any time: a removed protocol receives nothing more, an added protocol receives
/// from the next packet on.
template <class P>
class ProtocolTable {
  using Transport = typename P::Transport;

  struct Entry {
    int number;
    P* protocol;  // null: removed
    bool started = false;
  };
  static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

  /// Keeps entries at their places.
  class Hold {
   public:
    explicit Hold(ProtocolTable& table) : table_{table}, outer_{std::exchange(table.innermost_, this)} {}
    ~Hold() {
      table_.innermost_ = outer_;
      if (outer_ == nullptr && table_.unsettled_) table_.settle();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    /// The protocol being called; null between calls, or after its removal.
    P* called() const { return at_ == nowhere ? nullptr : table_.entries_[at_].protocol; }

   protected:
    ProtocolTable& table_;
    Hold* outer_;
    std::size_t at_ = nowhere;  // the entry being called
  };

 public:
  /// `what` and `limit` are the kind of number and the largest: "EtherType", 0xffff.
  ProtocolTable(const char* what, int limit) : what_{what}, limit_{limit} {}

  /// Throws std::out_of_range if `number` is not from 0 to the limit.
  void check(int number) const {
    if (number < 0 || number > limit_)
      throw std::out_of_range(std::string{what_} + ' ' + std::to_string(number) + " is not from 0 to " +
                              std::to_string(limit_));
  }

  /// Adds a protocol, connects it to `transport` unless null, and starts it in a life. Throws as `check`; an
  /// exception of the start is passed on, and the protocol is not added then. No effect on a protocol that
  /// already has the number.
  void add(int number, P& protocol, Transport* transport = nullptr) {
    check(number);
    if (find(number, protocol) != nowhere) return;
    const Hold hold{*this};
    const std::size_t at = entries_.size();
    entries_.push_back({number, &protocol});
    unsettled_ = true;
    if (transport != nullptr) protocol.make_connection(*transport);
    if (!started_) return;
    try {
      start(at);
    } catch (...) {
      remove(number, protocol);
      throw;
    }
  }

  /// Removes a protocol, and stops it if it was started. A protocol without another number loses its
  /// transport. No effect if the protocol does not have the number.
  void remove(int number, P& protocol) {
    const std::size_t at = find(number, protocol);
    if (at == nowhere) return;
    const bool started = std::exchange(entries_[at].started, false);
    entries_[at].protocol = nullptr;
    unsettled_ = true;
    if (left_at_ == &protocol) left_at_ = nullptr;
    if (innermost_ == nullptr) settle();
    try {
      if (started) protocol.do_stop();
    } catch (...) {
      if (!has(protocol)) protocol.lose_transport(nullptr);
      throw;
    }
    if (!has(protocol)) protocol.lose_transport(nullptr);
  }

  /// The protocols of a number: `for (P& protocol : table.range(7))`. Only an exception may leave a loop
  /// early. A range serves one loop at a time.
  class Range : private Hold {
   public:
    Range(ProtocolTable& table, int number)
        : Hold{table}, first_{table.first_of(number)}, last_{table.last_of(first_, number)} {
      table.left_at_ = nullptr;
    }
    ~Range() {
      if (this->at_ != nowhere) this->table_.left_at_ = this->called();
    }
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;

    /// True without a protocol, also after the removal of all.
    bool empty() const { return next(first_) == nowhere; }
    /// False if a protocol declines super-packets, or if there are several protocols: a protocol that takes a
    /// super-packet apart leaves nothing to the next.
    bool accepts_super_packets() const {
      const std::size_t only = next(first_);
      return only == nowhere ||
             (next(only + 1) == nowhere && this->table_.entries_[only].protocol->accepts_super_packets());
    }

    struct End {};
    struct Iterator {
      Range& range;
      P& operator*() const { return *range.called(); }
      void operator++() const { range.at_ = range.next(range.at_ + 1); }
      bool operator!=(End) const { return range.at_ != nowhere; }
    };
    Iterator begin() {
      this->at_ = next(first_);
      return {*this};
    }
    static End end() { return {}; }

   private:
    std::size_t next(std::size_t at) const {
      while (at < last_ && this->table_.entries_[at].protocol == nullptr) ++at;
      return at < last_ ? at : nowhere;
    }

    std::size_t first_;
    std::size_t last_;
  };
  Range range(int number) { return {*this, number}; }

  /// True if the protocol has a number.
  bool has(const P& protocol) const {
    return std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.protocol == &protocol; });
  }

  /// The protocol whose exception is being handled: `owner`, or a protocol behind `owner`.
  const Protocol& thrower(const Protocol& owner) const {
    if (left_at_ != nullptr) return left_at_->thrower();
    const P* const called = innermost_ != nullptr ? innermost_->called() : nullptr;
    return called != nullptr ? called->thrower() : owner;
  }

  /// Connects all protocols to `transport` unless null, and starts them. An exception of a start is passed
  /// on, after a stop of the protocols that had started.
  void start(Transport* transport = nullptr) {
    const Hold hold{*this};
    stop_all(stop_failure_);  // the rest of a life, if a protocol begins another life in its stop
    started_ = true;
    const std::uint64_t life = ++lives_;
    if (transport != nullptr)
      for (const Entry& entry : entries_)
        if (entry.protocol != nullptr) entry.protocol->make_connection(*transport);
    try {
      for (std::size_t at = 0; at < entries_.size() && life == lives_; ++at)
        if (entries_[at].protocol != nullptr && !entries_[at].started) start(at);
    } catch (...) {
      const std::exception_ptr first = std::current_exception();
      std::exception_ptr ignored;
      if (life == lives_) stop_all(ignored);
      std::rethrow_exception(first);
    }
  }
  /// Has all protocols forget a transport, at the end of the transport.
  void lose_transport(const Transport* transport) {
    for (const Entry& entry : entries_)
      if (entry.protocol != nullptr) entry.protocol->lose_transport(transport);
  }
  /// Stops all protocols. The first exception is passed on, after the last stop.
  void stop() {
    const Hold hold{*this};
    stop_all(stop_failure_);
    if (const auto first = std::exchange(stop_failure_, nullptr)) std::rethrow_exception(first);
  }

 private:
  /// The entry counts as started during the start: a stop of the owner stops the protocol, too.
  void start(std::size_t at) {
    const std::uint64_t life = lives_;
    entries_[at].started = true;
    try {
      entries_[at].protocol->do_start();
    } catch (...) {
      if (life == lives_) entries_[at].started = false;
      throw;
    }
  }

  void stop_all(std::exception_ptr& failure) {
    started_ = false;
    const std::uint64_t life = ++lives_;
    for (std::size_t at = 0; at < entries_.size() && life == lives_; ++at) {
      if (!std::exchange(entries_[at].started, false)) continue;
      try {
        entries_[at].protocol->do_stop();
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
    }
  }

  std::size_t find(int number, const P& protocol) const {
    const auto found = std::ranges::find_if(
        entries_, [&](const Entry& entry) { return entry.number == number && entry.protocol == &protocol; });
    return found == entries_.end() ? nowhere : static_cast<std::size_t>(found - entries_.begin());
  }
  std::size_t first_of(int number) const {
    const auto sorted = std::span{entries_}.first(settled_);
    return static_cast<std::size_t>(std::ranges::lower_bound(sorted, number, {}, &Entry::number) -
                                    sorted.begin());
  }
  std::size_t last_of(std::size_t first, int number) const {
    while (first < settled_ && entries_[first].number == number) ++first;
    return first;
  }
  void settle() {
    unsettled_ = false;
    std::erase_if(entries_, [](const Entry& entry) { return entry.protocol == nullptr; });
    std::ranges::stable_sort(entries_, {}, &Entry::number);
    settled_ = entries_.size();
  }

  const char* what_;
  int limit_;
  std::vector<Entry> entries_;
  std::size_t settled_ = 0;  // so many entries are sorted by number; the rest was added during a hold
  bool unsettled_ = false;   // an entry was added or removed
  bool started_ = false;
  std::uint64_t lives_ = 0;  // starts and stops
  Hold* innermost_ = nullptr;
  P* left_at_ = nullptr;  // the protocol at which an exception left the last range
  std::exception_ptr stop_failure_;
};

}  // namespace tunport
