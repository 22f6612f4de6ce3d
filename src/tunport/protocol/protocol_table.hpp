#pragma once
/// Which protocols stand behind which number: what all demultiplexers share.
///
/// Theory. The table has one vector, sorted by number. A callback of a protocol may add and remove protocols,
/// and may stop, start or destroy the owner. So code that calls protocols has a `Hold`: while there is one,
/// entries stay where they are; a removed one is emptied, an added one is appended. The last hold to end
/// sorts them in.
///
/// A life of the table lasts from its start to its stop. Each start of a protocol has one stop: an entry
/// knows whether it was started, a stop that begins while a start is under way stops what has started, and a
/// start that begins while a stop is under way ends that stop first. The older of the two calls finds the
/// number of lives changed, and leaves the rest to the younger.
///
/// A range knows which protocol is being called, and one that an exception leaves is not at its end: the
/// table remembers that protocol. So a delivery needs no try block to name a thrower.

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

/// Protocols by number, several for one number in the order in which they were added. Adding and removing are
/// allowed at any time: a removed protocol hears nothing more, an added one hears from the next packet on.
template <class P>
class ProtocolTable {
  using Transport = typename P::Transport;

  struct Entry {
    int number;
    P* protocol;  // null: removed
    bool started = false;
  };
  static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

  /// While one is there, no entry moves.
  class Hold {
   public:
    explicit Hold(ProtocolTable& table) : table_{table}, outer_{std::exchange(table.innermost_, this)} {}
    ~Hold() {
      table_.innermost_ = outer_;
      if (outer_ == nullptr && table_.unsettled_) table_.settle();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    /// The protocol that is being called; null if there is none, or the call has removed it.
    P* called() const { return at_ == nowhere ? nullptr : table_.entries_[at_].protocol; }

   protected:
    ProtocolTable& table_;
    Hold* outer_;
    std::size_t at_ = nowhere;  // the entry that is being called
  };

 public:
  /// `what` and `limit` are for the check of numbers: "EtherType", 0xffff.
  ProtocolTable(const char* what, int limit) : what_{what}, limit_{limit} {}

  /// Throws std::out_of_range if `number` is not from 0 to the limit.
  void check(int number) const {
    if (number < 0 || number > limit_)
      throw std::out_of_range(std::string{what_} + ' ' + std::to_string(number) + " is not from 0 to " +
                              std::to_string(limit_));
  }

  /// Connects the protocol, if there is a `transport`, and starts it in a life. Throws as `check`, and what
  /// the start throws; the protocol is not added then. No effect if it is there already.
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

  /// Stops the protocol, if it was started; it loses its transport, unless it is there for another number. No
  /// effect if it is not there.
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

  /// The protocols of one number, for a loop over them: `for (P& protocol : table.range(7))`. A loop may be
  /// left by an exception, and by nothing else. One loop at a time.
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

    /// True if no protocol is there, or none is any more.
    bool empty() const { return next(first_) == nowhere; }
    /// True unless a protocol declines super-packets, or there are several: one that takes a super-packet
    /// apart leaves nothing of it to another.
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

  /// True if this protocol stands behind any number.
  bool has(const P& protocol) const {
    return std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.protocol == &protocol; });
  }

  /// Asked while an exception is handled that came from `owner` or a protocol behind it: which of them threw.
  const Protocol& thrower(const Protocol& owner) const {
    if (left_at_ != nullptr) return left_at_->thrower();
    const P* const called = innermost_ != nullptr ? innermost_->called() : nullptr;
    return called != nullptr ? called->thrower() : owner;
  }

  /// Connects, if there is a `transport`, and starts all. If one throws, those that have started are stopped
  /// again.
  void start(Transport* transport = nullptr) {
    const Hold hold{*this};
    stop_all(stop_failure_);  // what is left of a life, if a protocol begins another while it is stopped
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
  /// The protocols forget a transport at its end.
  void lose_transport(const Transport* transport) {
    for (const Entry& entry : entries_)
      if (entry.protocol != nullptr) entry.protocol->lose_transport(transport);
  }
  /// Stops all, also when one throws; throws what the first threw.
  void stop() {
    const Hold hold{*this};
    stop_all(stop_failure_);
    if (const auto first = std::exchange(stop_failure_, nullptr)) std::rethrow_exception(first);
  }

 private:
  /// Counts as started meanwhile, so that a protocol that has its owner stopped is stopped, too.
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
  std::size_t settled_ = 0;  // that many are sorted by number; those behind them were added since
  bool unsettled_ = false;   // some were added or removed
  bool started_ = false;
  std::uint64_t lives_ = 0;  // starts and stops
  Hold* innermost_ = nullptr;
  P* left_at_ = nullptr;  // the protocol in whose call the last range was left
  std::exception_ptr stop_failure_;
};

}  // namespace tunport
