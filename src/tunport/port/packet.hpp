#pragma once
/// A packet as it passes from room to room.

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/checksum_state.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/offload/segmenter.hpp"

namespace tunport {

class Reactor;

/// What a port knows of the packet that it delivers, for as long as it does: one for all the copies of a
/// `Packet`, as what is done to its bytes is done to all of them.
struct PacketContext {
  DeviceKind kind = DeviceKind::tun;
  MutableBytes bytes;        ///< `max_framing` bytes before them are there too, and may be overwritten
  PacketOffload offload;     ///< what is left to do on it
  bool taken_apart = false;  ///< in place, so that the bytes are no packet any more; or it is delivered again
  const Reactor* reactor = nullptr;  ///< whose burst delivers it
  bool referred_to = false;  ///< somebody reads its bytes until the burst is over: they stay where they are
  bool port_gone = false;    ///< the port was destroyed: this lives until the call that delivers returns
  Segmenter segmenter;       ///< started by whoever hands it on in parts
};

/// One packet from a device: an Ethernet frame on TAP, an IP packet on TUN. Borrowed: its bytes live until
/// the call that delivered it returns. A value of a few words; copying it does not copy the bytes.
///
/// A protocol that accepts super-packets is given them whole, and datagrams with the checksum left to fill:
/// `offload()` says so. All others are given plain datagrams.
class Packet {
 public:
  Packet() = default;
  explicit Packet(Bytes bytes, bool truncated = false) : bytes_{bytes}, truncated_{truncated} {}
  /// A packet with something left to do; `context` outlives it.
  explicit Packet(PacketContext& context, bool truncated = false)
      : bytes_{context.bytes}, context_{&context}, origin_{&context}, truncated_{truncated} {}

  Bytes bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  /// The packet was longer than the port's `max_packet_size`: these are its first bytes.
  bool truncated() const { return truncated_; }
  /// What is left to do on it: nothing, for a plain datagram.
  PacketOffload offload() const { return context_ != nullptr ? context_->offload : PacketOffload{}; }
  bool is_super_packet() const { return context_ != nullptr && context_->offload.is_super_packet(); }
  /// True if it is a single datagram with its checksum in place: what every protocol takes.
  bool is_plain() const {
    return context_ == nullptr ||
           (!is_super_packet() && context_->offload.checksum != ChecksumState::to_fill);
  }
  /// True if it was handed on in parts: its own bytes are no packet any more, or this is the rest of one that
  /// is delivered again.
  bool is_taken_apart() const { return context_ != nullptr && context_->taken_apart; }

  /// True if a callback has destroyed the port that delivers it: its transport is no more.
  bool is_port_gone() const { return origin_ != nullptr && origin_->port_gone; }

  /// Calls `call(const Packet&)` with plain datagrams: the packet itself, with its checksum filled in, or
  /// each of its segments, made in place. A pause of the port ends it early; the port delivers the packet
  /// again when it reads on, and the next call goes on behind. The packet cannot be forwarded any more.
  template <class Call>
  void for_each_plain(Call call) const;
  /// The payload of the next datagram of a super-packet; empty when there is none, or the port pauses. Who
  /// takes one takes all: what is left when the call returns is delivered again, and only the first delivery
  /// can be forwarded. Precondition: a super-packet.
  Bytes next_payload() const;

  /// Gives up what is left of it, so that the port does not deliver that again. Returns how many datagrams
  /// that is.
  std::size_t give_up() const;

  /// For ports.
  PacketContext* context() const { return context_; }

 private:
  Packet(Bytes segment, const PacketContext& origin) : bytes_{segment}, origin_{&origin} {}
  Segmenter& segmenter() const;

  Bytes bytes_;
  PacketContext* context_ = nullptr;
  const PacketContext* origin_ = nullptr;  // of a segment too
  bool truncated_ = false;
};

inline Segmenter& Packet::segmenter() const {
  Segmenter& segmenter = context_->segmenter;
  if (!segmenter.started()) segmenter.start(context_->bytes, context_->offload, context_->kind);
  return segmenter;
}

inline Bytes Packet::next_payload() const { return segmenter().next_payload(); }

inline std::size_t Packet::give_up() const {
  if (context_ == nullptr) return 1;
  if (!context_->segmenter.started()) return datagrams_in(size(), context_->offload);
  const std::size_t left = context_->segmenter.remaining();
  context_->segmenter.reset();
  return left;
}

template <class Call>
void Packet::for_each_plain(Call call) const {
  if (is_super_packet()) {
    Segmenter& segments = segmenter();
    context_->taken_apart = true;
    for (Bytes segment; !(segment = segments.next_in_place(ChecksumState::verified)).empty();)
      call(Packet{segment, *context_});
    return;
  }
  if (!is_plain()) {
    complete_checksum(context_->bytes, context_->offload);
    context_->offload = {.checksum = ChecksumState::verified};
  }
  call(*this);
}

}  // namespace tunport
