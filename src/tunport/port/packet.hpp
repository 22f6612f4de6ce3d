#pragma once
/// A packet on its way from room to room.

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/base/function_ref.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

class BasePort;
class Reactor;

/// A packet's place in memory, and the port's knowledge of it during delivery. All copies of a `Packet` share
/// one origin, since a change of the bytes concerns each copy. A burst keeps the origin, also after a
/// callback has destroyed the port.
struct PacketOrigin {
  DeviceKind kind = DeviceKind::tun;  ///< the kind of the delivering port's device
  MutableBytes bytes;                 ///< `max_framing` bytes before the packet may be overwritten, too
  PacketOffload left;                 ///< the work left to do on the packet
  const Reactor* reactor = nullptr;   ///< the delivering port's
  BasePort* port = nullptr;           ///< the delivering port; null once destroyed
  bool ended = false;        ///< the port was stopped or destroyed: the rest of the packet is not delivered
  bool spent = false;        ///< segments were made in place: the bytes are not a packet any more
  bool referred_to = false;  ///< an outbox sends the bytes at the end of the burst: no read over them
  std::size_t aborted = 0;   ///< datagrams of the packet that a stop has cut off
};

/// One packet from a device: an Ethernet frame on TAP, an IP packet on TUN. Borrowed: the bytes live until
/// the delivering call returns. A value of a few words; a copy shares the bytes.
///
/// A protocol that accepts super-packets is given whole super-packets, and datagrams with the checksum left
/// to fill: `offload()` tells. Any other protocol is given plain datagrams.
class Packet {
 public:
  /// An empty packet.
  Packet() = default;
  /// A plain datagram in memory without a port. `bytes` are borrowed.
  explicit Packet(Bytes bytes, bool truncated = false) : bytes_{bytes}, truncated_{truncated} {}
  /// The packet at `origin`, with the work left to do. `origin` outlives the packet.
  explicit Packet(PacketOrigin& origin, bool truncated = false)
      : bytes_{origin.bytes}, origin_{&origin}, whole_{true}, in_place_{true}, truncated_{truncated} {}

  /// The bytes of the packet, without the framing.
  Bytes bytes() const { return bytes_; }
  /// The bytes of the packet for changes in place, before a `forward`; empty for bytes outside a port's
  /// memory
  /// (`with_bytes`, a datagram put together from fragments). A change keeps the size, and keeps the checksum
  /// right as `offload()` says (`rewrite_ends`): a field to fill, a complete field, or a verified packet that
  /// the change must not break. Each copy of the packet sees the change. Of a super-packet the headers count
  /// for all segments. Not to be changed after `forward`.
  MutableBytes mutable_bytes() const {
    return origin_ != nullptr && in_place_
               ? MutableBytes{const_cast<std::byte*>(bytes_.data()), bytes_.size()}
               : MutableBytes{};
  }
  /// The number of bytes.
  std::size_t size() const { return bytes_.size(); }
  /// True if the packet was longer than the port's `max_packet_size`: only the first bytes are here.
  bool truncated() const { return truncated_; }
  /// The work left to do on the packet: nothing, for a plain datagram.
  PacketOffload offload() const { return whole_ ? origin_->left : PacketOffload{}; }
  /// True if the packet stands for several datagrams.
  bool is_super_packet() const { return whole_ && origin_->left.is_super_packet(); }
  /// The number of datagrams: 1 unless a super-packet.
  std::size_t datagrams() const { return whole_ ? datagrams_in(size(), origin_->left) : 1; }
  /// True for a single datagram with its checksum in place: the form for every protocol.
  bool is_plain() const {
    return !whole_ || (!is_super_packet() && origin_->left.checksum != ChecksumState::to_fill);
  }

  /// True if a callback has destroyed the delivering port: the transport does not exist any more.
  bool is_port_gone() const { return origin_ != nullptr && origin_->port == nullptr; }

  /// Calls `call` with plain datagrams: the packet itself, with its checksum filled in, or each segment of a
  /// super-packet, made in place. A pause of the port takes effect behind the last segment; a stop, or the
  /// port's end, at once. The port counts an exception of a segment's call, and the next segment follows. The
  /// bytes of a super-packet are used up: `forward` refuses the packet afterwards (`bad_offload`).
  void for_each_plain(FunctionRef<void(const Packet&)> call) const;
  /// Calls `call` with the payload of each datagram of a super-packet, in place. Nothing is written, so the
  /// packet can be forwarded afterwards. Pauses, ends and exceptions as with `for_each_plain`. Precondition:
  /// a super-packet.
  void for_each_payload(FunctionRef<void(Bytes)> call) const;

  /// A plain datagram made of this packet, in other memory: delivered in this packet's place. `datagram` is
  /// borrowed.
  Packet with_bytes(Bytes datagram) const {
    Packet made{datagram};
    made.origin_ = origin_;
    return made;
  }

  /// For ports: the origin of a whole packet; null for a segment, and for bytes without a port.
  PacketOrigin* origin() const { return whole_ ? origin_ : nullptr; }

 private:
  Packet(Bytes segment, PacketOrigin& origin, bool whole)
      : bytes_{segment}, origin_{&origin}, whole_{whole}, in_place_{true} {}

  Bytes bytes_;
  PacketOrigin* origin_ = nullptr;  // of a segment, too
  bool whole_ = false;              // everything at the origin, not a segment
  bool in_place_ = false;           // at the origin, whole or a segment
  bool truncated_ = false;
};

}  // namespace tunport
