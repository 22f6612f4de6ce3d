#pragma once
/// A packet as it passes from room to room.

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/base/function_ref.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

class BasePort;
class Reactor;

/// Where a packet lies, and what its port knows of it while it is delivered: one for all the copies of a
/// `Packet`, since what is done to the bytes is done for all of them. A burst keeps it, also after a callback
/// has destroyed the port.
struct PacketOrigin {
  DeviceKind kind = DeviceKind::tun;
  MutableBytes bytes;                ///< `max_framing` bytes before them may be overwritten, too
  PacketOffload left;                ///< what is left to do on the packet
  const Reactor* reactor = nullptr;  ///< of the port that delivers it
  BasePort* port = nullptr;          ///< the port that delivers it; null once destroyed
  bool ended = false;        ///< the port was stopped or destroyed: no more of the packet is delivered
  bool spent = false;        ///< segments were made in place: the bytes are no packet any more
  bool referred_to = false;  ///< an outbox sends the bytes at the end of the burst: they stay where they are
  std::size_t aborted = 0;   ///< datagrams of the packet that a stop has cut off
};

/// One packet from a device: an Ethernet frame on TAP, an IP packet on TUN. Borrowed: its bytes live until
/// the call that delivered it returns. A value of a few words; a copy shares the bytes.
///
/// A protocol that accepts super-packets is given them whole, and datagrams with the checksum left to fill:
/// `offload()` says so. All others are given plain datagrams.
class Packet {
 public:
  Packet() = default;
  explicit Packet(Bytes bytes, bool truncated = false) : bytes_{bytes}, truncated_{truncated} {}
  /// The packet that lies there, with what is left to do on it. `origin` outlives it.
  explicit Packet(PacketOrigin& origin, bool truncated = false)
      : bytes_{origin.bytes}, origin_{&origin}, whole_{true}, truncated_{truncated} {}

  Bytes bytes() const { return bytes_; }
  /// Bytes of the packet.
  std::size_t size() const { return bytes_.size(); }
  /// The packet was longer than the port's `max_packet_size`: these are its first bytes.
  bool truncated() const { return truncated_; }
  /// What is left to do on it: nothing, for a plain datagram.
  PacketOffload offload() const { return whole_ ? origin_->left : PacketOffload{}; }
  bool is_super_packet() const { return whole_ && origin_->left.is_super_packet(); }
  /// How many datagrams it is: 1 unless it is a super-packet.
  std::size_t datagrams() const { return whole_ ? datagrams_in(size(), origin_->left) : 1; }
  /// True if it is a single datagram with its checksum in place: what every protocol takes.
  bool is_plain() const {
    return !whole_ || (!is_super_packet() && origin_->left.checksum != ChecksumState::to_fill);
  }

  /// True if a callback has destroyed the port that delivers it: its transport is no more.
  bool is_port_gone() const { return origin_ != nullptr && origin_->port == nullptr; }

  /// Calls `call` with plain datagrams: the packet itself, with its checksum filled in, or each segment of a
  /// super-packet, made in place. A pause of the port takes effect behind the last of them; a stop, or the
  /// port's end, at once. The port counts an exception of a segment's call, and the next segment follows. The
  /// bytes of a super-packet are used up: it cannot be forwarded afterwards (`bad_offload`).
  void for_each_plain(FunctionRef<void(const Packet&)> call) const;
  /// Calls `call` with the payload of each datagram of a super-packet, where it lies; nothing is written, so
  /// that the packet can be forwarded afterwards. Pauses, ends and exceptions as with `for_each_plain`.
  /// Precondition: a super-packet.
  void for_each_payload(FunctionRef<void(Bytes)> call) const;

  /// For ports: null for a segment, and for bytes that no port delivered.
  PacketOrigin* origin() const { return whole_ ? origin_ : nullptr; }

 private:
  Packet(Bytes segment, PacketOrigin& origin, bool whole)
      : bytes_{segment}, origin_{&origin}, whole_{whole} {}

  Bytes bytes_;
  PacketOrigin* origin_ = nullptr;  // of a segment, too
  bool whole_ = false;              // all that lies there, not a segment of it
  bool truncated_ = false;
};

}  // namespace tunport
