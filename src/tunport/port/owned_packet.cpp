#include "tunport/port/owned_packet.hpp"

#include <cstring>
#include <utility>

namespace tunport {

OwnedPacket::OwnedPacket(const Packet& packet) {
  const PacketOrigin* const origin = packet.origin();
  if (packet.size() == 0 || packet.truncated() || (origin != nullptr && origin->spent)) return;
  memory_ = std::make_unique_for_overwrite<std::byte[]>(max_framing + packet.size());
  std::memcpy(memory_.get() + max_framing, packet.bytes().data(), packet.size());
  size_ = packet.size();
  left_ = packet.offload();
  if (origin != nullptr) kind_ = origin->kind;
}

WriteResult OwnedPacket::forward_to(FrameTransport& transport) {
  if (!memory_) return WriteResult::make_refused(DropReason::empty);
  const auto memory = std::move(memory_);
  PacketOrigin origin;  // without a port or a reactor: an outbox copies what it keeps
  origin.kind = kind_;
  origin.bytes = {memory.get() + max_framing, size_};
  origin.left = left_;
  return transport.forward(Packet{origin});
}

}  // namespace tunport
