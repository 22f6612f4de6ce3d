#include "tunport/port/packet.hpp"

#include <algorithm>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/port/base_port.hpp"

namespace tunport {
namespace {

/// Delivers a datagram of a super-packet. An exception costs a single datagram.
template <class Call>
void deliver(PacketOrigin& origin, Call call) {
  try {
    call();
  } catch (...) {
    if (origin.port != nullptr) origin.port->note_exception();
  }
}

}  // namespace

void Packet::for_each_plain(FunctionRef<void(const Packet&)> call) const {
  if (is_super_packet()) {
    PacketOrigin& origin = *origin_;
    if (origin.spent) return;
    Segmenter segmenter;
    segmenter.start(origin.bytes, origin.left, origin.kind);
    origin.spent = true;
    while (!origin.ended) {
      const Bytes segment = segmenter.next_in_place(ChecksumState::verified);
      if (segment.empty()) break;
      deliver(origin, [&] { call(Packet{segment, origin, false}); });
    }
    origin.aborted += segmenter.remaining();
    return;
  }
  if (!is_plain()) {
    complete_checksum(origin_->bytes, origin_->left);
    origin_->left = {.checksum = ChecksumState::verified};
  }
  call(*this);
}

void Packet::for_each_payload(FunctionRef<void(Bytes)> call) const {
  PacketOrigin& origin = *origin_;
  const auto layout = find_layout(bytes_, origin.kind);
  if (!layout || layout->payload != origin.left.header_length) return;
  const std::size_t step = origin.left.segment_size;
  std::size_t at = layout->payload;
  for (; at < layout->end && !origin.ended; at += step)
    deliver(origin, [&] { call(bytes_.subspan(at, std::min(step, layout->end - at))); });
  if (at < layout->end) origin.aborted += (layout->end - at + step - 1) / step;
}

}  // namespace tunport
