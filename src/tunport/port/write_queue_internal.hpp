#pragma once
/// The write queue: a ring of typed records, bounded, allocated once.

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "tunport/base/bytes.hpp"
#include "tunport/port/outbox_owner.hpp"

namespace tunport {

/// A queue of packets in one block of memory, in order. A record is a tag and the packet's bytes; the bytes
/// are contiguous, so that the packet can be written in place. A record without room before the block's end
/// starts at the block's beginning. The block is allocated at the first push: most ports never queue.
template <class Tag>
class WriteQueue {
  static_assert(std::is_trivially_copyable_v<Tag> && alignof(Tag) <= 8);
  struct Record {
    std::uint64_t size;
    Ticket ticket;
    Tag tag;
  };

 public:
  /// The largest number of bytes in a record besides the packet.
  static constexpr std::size_t overhead = sizeof(Record) + 7;

  /// `limit`: bytes of records, each with its `overhead`; `largest`: the longest packet, in bytes.
  WriteQueue(std::size_t limit, std::size_t largest) : limit_{limit}, capacity_{limit + footprint(largest)} {}

  /// True if no record is queued.
  bool empty() const { return bytes_ == 0; }
  /// Bytes of the records, book-keeping included.
  std::size_t bytes() const { return bytes_; }

  /// False if the memory for the queue could not be had.
  bool has_memory() const { return block_ != nullptr; }

  /// Copies a packet in, from its parts. Returns false, with nothing changed, if the packet would pass the
  /// limit, or without memory; an empty queue takes any packet up to `largest`.
  bool push(const Tag& tag, std::span<const Bytes> parts, Ticket ticket = 0) {
    const std::size_t size = size_of(parts);
    const std::size_t need = footprint(size);
    if (need > capacity_ || (bytes_ != 0 && bytes_ + need > limit_)) return false;
    if (!block_) block_.reset(new (std::nothrow) std::byte[capacity_]);
    if (!block_) return false;
    // The unused end of the block after a wrap is less than one record; the capacity has room to spare for
    // it.
    const bool wrapped = bytes_ != 0 && tail_ <= head_;
    if (!wrapped && tail_ + need > capacity_) {
      end_ = tail_;
      tail_ = 0;
    }
    new (block_.get() + tail_) Record{size, ticket, tag};
    std::byte* at = block_.get() + tail_ + sizeof(Record);
    for (const Bytes part : parts) {
      if (!part.empty()) std::memcpy(at, part.data(), part.size());
      at += part.size();
    }
    tail_ += need;
    bytes_ += need;
    return true;
  }

  /// The tag of the oldest record. Precondition: not empty.
  const Tag& front_tag() const { return front().tag; }
  /// The ticket of the oldest record. Precondition: not empty.
  Ticket front_ticket() const { return front().ticket; }
  /// The packet of the oldest record; valid until `pop`. Precondition: not empty.
  Bytes front_packet() const { return {block_.get() + head_ + sizeof(Record), front().size}; }
  /// Removes the oldest record. Precondition: not empty.
  void pop() {
    const bool wrapped = tail_ <= head_;
    const std::size_t taken = footprint(front().size);
    head_ += taken;
    bytes_ -= taken;
    if (bytes_ == 0)
      head_ = tail_ = 0;
    else if (wrapped && head_ == end_)
      head_ = 0;
  }

 private:
  static constexpr std::size_t footprint(std::size_t size) { return sizeof(Record) + (size + 7) / 8 * 8; }
  const Record& front() const { return *std::launder(reinterpret_cast<const Record*>(block_.get() + head_)); }

  std::size_t limit_;
  std::size_t capacity_;
  std::unique_ptr<std::byte[]> block_;
  std::size_t head_ = 0;  // the oldest record
  std::size_t tail_ = 0;  // the place of the next record
  std::size_t end_ = 0;   // while the tail is before the head: the end of the records behind the head
  std::size_t bytes_ = 0;
};

}  // namespace tunport
