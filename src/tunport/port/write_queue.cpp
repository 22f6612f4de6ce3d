#include "tunport/port/write_queue.hpp"

namespace tunport {

bool WriteQueue::push(std::span<const Bytes> parts, std::uint64_t ticket) {
  std::size_t size = 0;
  for (const Bytes part : parts) size += part.size();
  const std::size_t need = footprint(size);
  if (need > capacity_ || (bytes_ != 0 && bytes_ + need > limit_)) return false;
  if (!block_) block_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
  // What is left unused behind the tail when it wraps is less than one record: the capacity has that to
  // spare.
  const bool wrapped = bytes_ != 0 && tail_ <= head_;
  if (!wrapped && tail_ + need > capacity_) {
    end_ = tail_;
    tail_ = 0;
  }
  const Header record{size, ticket};
  std::memcpy(block_.get() + tail_, &record, sizeof record);
  std::size_t at = tail_ + sizeof record;
  for (const Bytes part : parts) {
    if (!part.empty()) std::memcpy(block_.get() + at, part.data(), part.size());
    at += part.size();
  }
  tail_ += need;
  bytes_ += need;
  return true;
}

Bytes WriteQueue::front() const {
  return {block_.get() + head_ + sizeof(Header), static_cast<std::size_t>(header(head_).size)};
}

void WriteQueue::pop() {
  const bool wrapped = tail_ <= head_;
  const std::size_t taken = footprint(static_cast<std::size_t>(header(head_).size));
  head_ += taken;
  bytes_ -= taken;
  if (bytes_ == 0)
    head_ = tail_ = 0;
  else if (wrapped && head_ == end_)
    head_ = 0;
}

}  // namespace tunport
