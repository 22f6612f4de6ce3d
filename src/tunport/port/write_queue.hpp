#pragma once
/// Datagrams that wait for the kernel: a ring of bytes, bounded, allocated once.

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "tunport/base/bytes.hpp"

namespace tunport {

/// A queue of datagrams in one block of memory, in order. Each record is contiguous, so that it can be
/// written as it lies; one that does not fit before the block's end starts at its beginning. The block is
/// allocated at the first push: most ports never queue.
class WriteQueue {
 public:
  /// `limit`: bytes of records (each with 16 bytes of book-keeping); `largest`: the longest record, in bytes.
  WriteQueue(std::size_t limit, std::size_t largest) : limit_{limit}, capacity_{limit + footprint(largest)} {}

  bool empty() const { return bytes_ == 0; }
  /// Bytes taken, book-keeping included.
  std::size_t bytes() const { return bytes_; }

  /// Copies the parts in as one record. `ticket` comes back with it. False, and nothing is changed, if it
  /// would pass the limit; an empty queue takes any record up to `largest`.
  bool push(std::span<const Bytes> parts, std::uint64_t ticket = 0);
  /// The oldest record; lives until it is popped. Precondition: not empty.
  Bytes front() const;
  /// What the oldest record was pushed with. Precondition: not empty.
  std::uint64_t front_ticket() const { return header(head_).ticket; }
  /// Precondition: not empty.
  void pop();

 private:
  struct Header {
    std::uint64_t size;
    std::uint64_t ticket;
  };
  static constexpr std::size_t footprint(std::size_t size) { return sizeof(Header) + (size + 7) / 8 * 8; }
  Header header(std::size_t at) const {
    Header value;
    std::memcpy(&value, block_.get() + at, sizeof value);
    return value;
  }

  std::size_t limit_;
  std::size_t capacity_;
  std::unique_ptr<std::byte[]> block_;
  std::size_t head_ = 0;  // the oldest record
  std::size_t tail_ = 0;  // where the next one goes
  std::size_t end_ = 0;   // while the tail is before the head: where the records behind the head end
  std::size_t bytes_ = 0;
};

}  // namespace tunport
