#pragma once
/// The way of packets from an outbox into a TUN/TAP device: joined, framed, whole or in segments.
///
/// Theory. The framing (packet information, the virtio header) is put right before the packet where memory
/// has room, and gathered otherwise. A super-packet is written whole if the device takes its kind, else in
/// segments. If the kernel refuses a whole super-packet all the same (EINVAL), the same data is sent again in
/// segments. If the kernel takes every segment, and UDP has no more segments than every kernel allows, the
/// kernel does not support the kind, and super-packets of that kind are segmented from then on (demotion). If
/// the kernel's buffer is full in between, the sink remembers the number of segments done, and goes on behind
/// them. A hostile packet cannot cause a demotion: its header has passed our own bounds before
/// (`virtio_header::decode`), and any other fault of the packet is a fault of its segments as well.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tunport/base/bytes.hpp"
#include "tunport/base/probes_internal.hpp"
#include "tunport/device/device.hpp"
#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/port/sink_internal.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/wire/ethernet.hpp"

namespace tunport {

/// A sink of packets with the work left to do on each. `device` and `statistics` are borrowed.
class TunSink {
 public:
  using Tag = PacketOffload;

  /// `max_packet_size` limits a single packet, in bytes.
  TunSink(Device& device, DeviceKind kind, Statistics& statistics, std::size_t max_packet_size)
      : device_{device}, kind_{kind}, statistics_{statistics}, max_packet_size_{max_packet_size} {}

  /// Takes over the features of a device that was just opened.
  void reset();
  /// The features of packets that go to the device unchanged. Shrinks when the kernel refuses a kind.
  const OffloadFeatures& takes() const { return takes_; }

  /// As `Sink` has it. A packet is refused as `empty`, `too_long`, `too_short` for an Ethernet header, or
  /// `wrong_version` on TUN; a super-packet is not examined.
  std::optional<DropReason> objection(const PacketOffload& left, const Parts& parts) const {
    if (left.is_super_packet()) return std::nullopt;
    std::size_t size = 0;
    Bytes first;
    for (const Bytes part : parts.bytes) {
      if (size == 0) first = part;
      size += part.size();
    }
    if (size == 0) return DropReason::empty;
    if (size > max_packet_size_ || parts.bytes.size() > max_write_parts) return DropReason::too_long;
    if (kind_ == DeviceKind::tap) {
      if (size < ethernet_header_size) return DropReason::too_short;
    } else if (const auto version = load_u8(first, 0) >> 4; version != 4 && version != 6) {
      return DropReason::wrong_version;
    }
    return std::nullopt;
  }

  bool gathers() const { return coalescer_.has_value(); }
  bool has_gathered() const { return coalescer_ && !coalescer_->empty(); }
  bool gather(const PacketOffload& left, const Parts& parts) {
    const Bytes first = parts.bytes.front();
    if (parts.bytes.size() != 1)
      return parts.size() <= longest_gathered && coalescer_->add(parts.bytes, left, takes_);
    if (left.is_super_packet() || first.size() > longest_gathered) return false;
    return coalescer_->add(first, left, parts.keep, takes_);
  }
  template <class Call>
  void give(const bool& /*ready*/, Call call) {
    coalescer_->flush([&](const Coalesced& packet) {
      std::size_t count = 0;
      for (const iovec& part : packet.parts)
        given_[count++] = {static_cast<const std::byte*>(part.iov_base), part.iov_len};
      call(packet.offload, Parts{.bytes = {given_.data(), count}, .has_headroom = true}, packet.datagrams);
    });
  }

  int write(const PacketOffload& left, const Parts& parts) {
    if (left.is_super_packet() || left.checksum == ChecksumState::to_fill || parts.has_headroom)
      return write_framed(left, parts);
    const Bytes first = parts.bytes.front();
    const int error = parts.bytes.size() == 1 ? device_.write(first) : device_.write_sequence(parts.bytes);
    return note(error, left, parts.size());
  }

  std::size_t datagrams(const PacketOffload& left, std::size_t size) const {
    return datagrams_in(size, left);
  }
  std::size_t done() const { return done_; }
  void forget() { done_ = 0; }

 private:
  /// Memory for packets that must be changed before the write: allocated for the first.
  struct Scratch {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0;
    MutableBytes packet;
    Segmenter segmenter;
  };

  /// The longest datagram that leaves room for a second in an IP packet.
  static constexpr std::size_t longest_gathered = 0x8000;

  int write_framed(const PacketOffload& left, const Parts& parts);
  int send_framed(const PacketOffload& left, const Parts& parts);
  int write_in_segments(const PacketOffload& left, const Parts& parts);
  int write_single(Bytes datagram);
  int note(int error, const PacketOffload& left, std::size_t size) {
    TUNPORT_PROBE(write, size, error);
    if (error != 0) return error;
    statistics_.packets_out += datagrams_in(size, left);
    statistics_.bytes_out += size;
    if (left.is_super_packet()) ++statistics_.super_packets_out;
    return 0;
  }
  Scratch* assemble(const Parts& parts);
  void demote(SegmentKind kind);

  Device& device_;
  DeviceKind kind_;
  Statistics& statistics_;
  std::size_t max_packet_size_;
  OffloadFeatures takes_;
  std::optional<Coalescer> coalescer_;             // while the device takes super-packets
  std::array<Bytes, Coalescer::max_parts> given_;  // a member: to clear an array for each packet costs 100 ns
  std::size_t done_ = 0;
  std::unique_ptr<Scratch> scratch_;
};
static_assert(Sink<TunSink>);

}  // namespace tunport
