#pragma once
/// Which protocols stand behind which number: what all demultiplexers share.
///
/// What a protocol throws while packets are delivered comes out as a `ProtocolFailure`, by which the port can
/// say in its log who it was.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tunport/port/protocol.hpp"

namespace tunport {

/// An exception of a protocol behind a demultiplexer: "Answer: what it said".
class ProtocolFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Protocols by number, several for one number in the order in which they were added. Adding and removing are
/// allowed while it delivers: what is removed hears nothing more, what is added hears from the next packet
/// on.
template <class P>
class ProtocolTable {
 public:
  /// `what` and `limit` are for the check of numbers: "EtherType", 0xffff.
  ProtocolTable(const char* what, int limit) : what_{what}, limit_{limit} {}

  /// Throws std::out_of_range if `number` is not from 0 to the limit.
  void check(int number) const {
    if (number < 0 || number > limit_)
      throw std::out_of_range(std::string{what_} + ' ' + std::to_string(number) + " is not from 0 to " +
                              std::to_string(limit_));
  }

  /// Throws as `check`, and what the protocol's start throws. No effect if it is there already.
  void add(int number, P& protocol) {
    check(number);
    Entry entry{number, &protocol};
    if (std::ranges::find(entries_, entry) != entries_.end() ||
        std::ranges::find(added_, entry) != added_.end())
      return;
    if (started_) {
      protocol.do_start();
      entry.started = true;
    }
    if (delivering_ > 0) {
      added_.push_back(entry);
      unsettled_ = true;
    } else {
      insert(entry);
    }
  }

  /// No effect if it is not there.
  void remove(int number, P& protocol) {
    for (std::vector<Entry>* const list : {&entries_, &added_}) {
      const auto found = std::ranges::find(*list, Entry{number, &protocol});
      if (found == list->end()) continue;
      const bool started = std::exchange(found->started, false);
      if (delivering_ > 0) {
        found->protocol = nullptr;
        unsettled_ = true;
      } else {
        list->erase(found);
      }
      if (started) protocol.do_stop();
      return;
    }
  }

  /// Calls `deliver(protocol)` for each protocol of `number`; false if there is none.
  template <class Deliver>
  bool deliver(int number, Deliver call) {
    bool any = false;
    const Delivery guard{*this};
    for (std::size_t at = first_of(number); at < entries_.size() && entries_[at].number == number; ++at) {
      if (entries_[at].protocol == nullptr) continue;
      any = true;
      named(*entries_[at].protocol, [&](P& protocol) { call(protocol); });
    }
    return any;
  }

  /// True if this protocol stands behind any number.
  bool has(const P& protocol) const {
    const auto is_it = [&](const Entry& entry) { return entry.protocol == &protocol; };
    return std::ranges::any_of(entries_, is_it) || std::ranges::any_of(added_, is_it);
  }
  /// True if there is a protocol of `number`.
  bool has(int number) const {
    for (std::size_t at = first_of(number); at < entries_.size() && entries_[at].number == number; ++at)
      if (entries_[at].protocol != nullptr) return true;
    return false;
  }
  /// True unless a protocol of `number` declines super-packets, or there are several: who takes one apart
  /// leaves nothing of it to another.
  bool accepts_super_packets(int number) const {
    int takers = 0;
    for (std::size_t at = first_of(number); at < entries_.size() && entries_[at].number == number; ++at) {
      if (entries_[at].protocol == nullptr) continue;
      if (++takers > 1 || !entries_[at].protocol->accepts_super_packets()) return false;
    }
    return true;
  }

  /// Starts all; if one throws, those that had started are stopped again. Adding and removing are allowed
  /// meanwhile.
  void start() {
    started_ = true;
    const Delivery guard{*this};
    try {
      for (Entry& entry : entries_) {
        if (!started_) return;  // one of them has destroyed the port, and the owner is stopped already
        if (entry.protocol == nullptr) continue;
        start(entry);
      }
    } catch (...) {
      const std::exception_ptr first = std::current_exception();
      stop_all();
      std::rethrow_exception(first);
    }
  }
  /// Stops all, also when one throws; what the first threw is thrown then. Adding and removing are allowed
  /// meanwhile.
  void stop() {
    const Delivery guard{*this};
    if (const std::exception_ptr first = stop_all()) std::rethrow_exception(first);
  }

 private:
  struct Entry {
    int number;
    P* protocol;  // null: removed while delivering
    bool started = false;
    bool operator==(const Entry& other) const { return number == other.number && protocol == other.protocol; }
  };

  struct Delivery {
    explicit Delivery(ProtocolTable& of) : table{of} { ++table.delivering_; }
    ~Delivery() {
      if (--table.delivering_ == 0 && table.unsettled_) table.settle();
    }
    Delivery(const Delivery&) = delete;
    Delivery& operator=(const Delivery&) = delete;
    ProtocolTable& table;
  };

  /// Calls, and names the protocol in what is thrown, unless one behind it is named already.
  template <class Call>
  static void named(P& protocol, Call call) {
    try {
      call(protocol);
    } catch (const ProtocolFailure&) {
      throw;
    } catch (const std::exception& error) {
      throw ProtocolFailure(protocol.name() + ": " + error.what());
    } catch (...) {
      throw ProtocolFailure(protocol.name() + ": not a std::exception");
    }
  }

  /// Counts as started meanwhile, so that one that has its owner stopped is stopped too.
  static void start(Entry& entry) {
    entry.started = true;
    try {
      entry.protocol->do_start();
    } catch (...) {
      entry.started = false;
      throw;
    }
  }

  /// The lists only grow meanwhile.
  std::exception_ptr stop_all() {
    started_ = false;
    std::exception_ptr first;
    for (std::vector<Entry>* const list : {&entries_, &added_})
      for (std::size_t i = 0; i < list->size(); ++i) {
        if (!std::exchange((*list)[i].started, false)) continue;
        try {
          (*list)[i].protocol->do_stop();
        } catch (...) {
          if (!first) first = std::current_exception();
        }
      }
    return first;
  }

  std::size_t first_of(int number) const {
    return static_cast<std::size_t>(std::ranges::lower_bound(entries_, number, {}, &Entry::number) -
                                    entries_.begin());
  }
  void insert(const Entry& entry) {
    entries_.insert(std::ranges::upper_bound(entries_, entry.number, {}, &Entry::number), entry);
  }
  void settle() {
    unsettled_ = false;
    std::erase_if(entries_, [](const Entry& entry) { return entry.protocol == nullptr; });
    for (const Entry& entry : added_)
      if (entry.protocol != nullptr) insert(entry);
    added_.clear();
  }

  const char* what_;
  int limit_;
  std::vector<Entry> entries_;  // by number
  std::vector<Entry> added_;    // while delivering
  bool unsettled_ = false;      // removed or added while delivering
  int delivering_ = 0;
  bool started_ = false;
};

}  // namespace tunport
