#pragma once
/// A packet kept beyond its delivery.

#include <cstddef>
#include <memory>

#include "tunport/base/bytes.hpp"
#include "tunport/device/device.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// A copy of a packet, with the work left to do on the packet: a super-packet stays whole, a checksum to fill
/// stays to be filled. For a program that decides later about a packet.
///
///     held.emplace_back(packet);                        // within the delivery
///     held.front().forward_to(port); held.pop_front();  // later
class OwnedPacket {
 public:
  /// No packet.
  OwnedPacket() = default;
  /// Copies `packet`, within its delivery. A packet whose segments were made in place is not a packet any
  /// more, and a packet cut off (`truncated`) is not a whole one: no packet then. Throws std::bad_alloc.
  explicit OwnedPacket(const Packet& packet);

  /// True with a packet.
  explicit operator bool() const { return memory_ != nullptr; }
  /// The bytes of the packet.
  Bytes bytes() const { return memory_ ? Bytes{memory_.get() + max_framing, size_} : Bytes{}; }
  /// The bytes, for changes that keep the checksum right, as `Packet::mutable_bytes`.
  MutableBytes mutable_bytes() {
    return memory_ ? MutableBytes{memory_.get() + max_framing, size_} : MutableBytes{};
  }
  /// The work left to do on the packet.
  const PacketOffload& offload() const { return left_; }
  /// The kind of device that delivered the packet.
  DeviceKind kind() const { return kind_; }
  /// The number of datagrams: 1 unless a super-packet; 0 without a packet.
  std::size_t datagrams() const { return memory_ ? datagrams_in(size_, left_) : 0; }

  /// Writes the packet, copied or sent on return, as `FrameTransport::forward`; the packet is used up, and
  /// none is left. Without a packet: refused as `empty`, not counted.
  WriteResult forward_to(FrameTransport& transport);

 private:
  std::unique_ptr<std::byte[]> memory_;  // with room for the framing before the packet
  std::size_t size_ = 0;
  PacketOffload left_;
  DeviceKind kind_ = DeviceKind::tun;
};

}  // namespace tunport
