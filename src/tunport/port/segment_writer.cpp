#include <algorithm>

#include "tunport/port/segment_writer_internal.hpp"

namespace tunport {

/// True if a datagram of `size` bytes is not too long with `room` around.
bool SegmentWriter::fits(SegmentRoom room, std::size_t size) const {
  return room.before <= longest_ && room.behind <= longest_ - room.before &&
         size <= longest_ - room.before - room.behind;
}

WriteResult SegmentWriter::write(const UdpSink::Tag& way, const Packet& packet, SegmentRoom room,
                                 FunctionRef<void(MutableBytes)> seal, const Lifeline::Watch& alive) {
  if (packet.truncated()) return outbox_.refuse(DropReason::truncated);
  if (!scratch_) scratch_ = std::make_unique_for_overwrite<std::byte[]>(longest_);
  WriteResult result = WriteResult::make_sent();  // the first refusal, or `queued` if a datagram was queued
  const auto write = [&](std::size_t size, const auto& make) {
    const WriteResult written = outbox_.write_made(way, room.before + size + room.behind,
                                                   {scratch_.get(), longest_}, [&](MutableBytes place) {
                                                     make(place.subspan(room.before, size));
                                                     seal(place);
                                                   });
    if (result && written.status() != WriteResult::sent) result = written;
  };
  if (!packet.is_super_packet()) {
    packet.for_each_plain([&](const Packet& plain) {
      if (fits(room, plain.size()))
        write(plain.size(), [&](MutableBytes place) { std::ranges::copy(plain.bytes(), place.begin()); });
      else
        result = outbox_.refuse(DropReason::too_long);
    });
    return result;
  }
  const PacketOrigin& origin = *packet.origin();
  if (!origin.spent) segmenter_.start(origin.bytes, origin.left, origin.kind);
  if (origin.spent || segmenter_.done()) return outbox_.refuse(DropReason::bad_offload, packet.datagrams());
  if (!fits(room, segmenter_.largest())) return outbox_.refuse(DropReason::too_long, packet.datagrams());
  std::size_t left = 0;
  try {
    while (alive.alive() && !segmenter_.done()) {
      left = segmenter_.remaining();
      write(segmenter_.next_size(),
            [&](MutableBytes place) { segmenter_.next_into(place, ChecksumState::verified); });
    }
  } catch (...) {
    outbox_.refuse(DropReason::aborted, left);
    throw;
  }
  return result;
}

}  // namespace tunport
