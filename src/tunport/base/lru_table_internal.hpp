#pragma once
/// A bounded table: a new key takes the place of the least recently used key.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace tunport {

/// Values by key, at most `capacity` of them. The memory is allocated at the first insertion, once. Pointers
/// to values are valid until the key is erased or displaced.
template <class Key, class Value>
class LruTable {
 public:
  /// `capacity`: at least 1.
  explicit LruTable(std::size_t capacity) : capacity_{static_cast<std::uint32_t>(capacity)} {}

  /// The number of keys.
  std::size_t size() const { return size_; }
  /// The largest number of keys.
  std::size_t capacity() const { return capacity_; }

  /// The value of a key; null for an unknown key. The key becomes the most recently used.
  Value* find(const Key& key) {
    const std::uint32_t at = look_up(key);
    if (at == none) return nullptr;
    use(at);
    return &entries_[at].value;
  }

  /// The value of a key, made for an unknown key. The key becomes the most recently used. `displaced` is
  /// called with the key and the value that make room.
  template <class Displaced>
  Value& insert(const Key& key, Displaced displaced) {
    if (Value* const there = find(key)) return *there;
    if (buckets_.empty()) {
      entries_.resize(capacity_);
      buckets_.assign(std::bit_ceil(std::size_t{capacity_}), none);
      for (std::uint32_t i = 0; i < capacity_; ++i) entries_[i].chain = i + 1 < capacity_ ? i + 1 : none;
      free_ = 0;
    }
    if (free_ == none) {
      displaced(entries_[oldest_].key, entries_[oldest_].value);
      release(oldest_);
    }
    const std::uint32_t at = free_;
    Entry& entry = entries_[at];
    free_ = entry.chain;
    entry.key = key;
    entry.value = Value{};
    std::uint32_t& bucket = bucket_of(key);
    entry.chain = bucket;
    bucket = at;
    link(at);
    ++size_;
    return entry.value;
  }
  /// As the first form, without a call for a displaced key.
  Value& insert(const Key& key) {
    return insert(key, [](const Key&, Value&) {});
  }

  /// Erases a key. False for an unknown key.
  bool erase(const Key& key) {
    const std::uint32_t at = look_up(key);
    if (at == none) return false;
    release(at);
    return true;
  }
  /// Erases each entry for which `wanted(key, value)` is true.
  template <class Wanted>
  void erase_if(Wanted wanted) {
    for (std::uint32_t at = newest_; at != none;) {
      const std::uint32_t next = entries_[at].older;
      if (wanted(entries_[at].key, entries_[at].value)) release(at);
      at = next;
    }
  }

 private:
  static constexpr std::uint32_t none = UINT32_MAX;

  struct Entry {
    Key key{};
    Value value{};
    std::uint32_t chain = none;  // the next entry of the bucket, or of the free entries
    std::uint32_t newer = none;
    std::uint32_t older = none;
  };

  std::uint32_t& bucket_of(const Key& key) {
    const std::uint64_t spread = std::hash<Key>{}(key)*std::uint64_t{0x9e3779b97f4a7c15};
    return buckets_[(spread >> 32) & (buckets_.size() - 1)];
  }
  std::uint32_t look_up(const Key& key) {
    if (buckets_.empty()) return none;
    std::uint32_t at = bucket_of(key);
    while (at != none && !(entries_[at].key == key)) at = entries_[at].chain;
    return at;
  }
  void link(std::uint32_t at) {
    entries_[at].newer = none;
    entries_[at].older = newest_;
    (newest_ == none ? oldest_ : entries_[newest_].newer) = at;
    newest_ = at;
  }
  void unlink(std::uint32_t at) {
    const Entry& entry = entries_[at];
    (entry.newer == none ? newest_ : entries_[entry.newer].older) = entry.older;
    (entry.older == none ? oldest_ : entries_[entry.older].newer) = entry.newer;
  }
  void use(std::uint32_t at) {
    if (at == newest_) return;
    unlink(at);
    link(at);
  }
  void release(std::uint32_t at) {
    std::uint32_t* place = &bucket_of(entries_[at].key);
    while (*place != at) place = &entries_[*place].chain;
    *place = entries_[at].chain;
    unlink(at);
    entries_[at].value = Value{};
    entries_[at].chain = free_;
    free_ = at;
    --size_;
  }

  std::uint32_t capacity_;
  std::size_t size_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> buckets_;
  std::uint32_t free_ = none;
  std::uint32_t newest_ = none;
  std::uint32_t oldest_ = none;
};

}  // namespace tunport
