#pragma once
/// Takes a super-packet apart, datagram by datagram, in three ways. The ways may be mixed:
///
///   - `next_payload`: the next datagram's payload, within the packet. Nothing is written.
///   - `next_in_place`: the next whole datagram, within the packet. The headers are written right before the
///     payload, over the tail of the previous payload, or over the packet's own headers.
///
///       +-----------+-----------------+-----------------+- - -      the super-packet
///       |  headers  | payload 0       | payload 1       |
///       +-----------+-----------------+-----------------+- - -
///       +-----------+-----------------+                             datagram 0
///                         +-----------+-----------------+           datagram 1
///
///   - `next_into`: the next whole datagram, in a buffer of the caller. The super-packet is not changed.
///
/// Ownership. The packet belongs to the caller, and must stay until the last datagram is taken, or until
/// `reset`. A datagram is valid until the next call. The segmenter has a copy of the headers, and allocates
/// nothing.
///
/// Fields that differ between datagrams: IP lengths, the IPv4 identification (counting up) and header
/// checksum, the UDP length, the TCP sequence number, CWR (first datagram only), FIN and PSH (last datagram
/// only), and the transport checksum. The rest is copied. An IPv6 packet en route (`Layout::en_route`) does
/// not have the final address: the sum in the checksum field is adjusted. The kernel segments in the same way
/// (net/ipv4/af_inet.c, inet_gso_segment; tcp_offload.c; udp_offload.c).
///
/// Costs. A datagram costs a copy of the headers, a few stores, and sums of single words: headers and
/// addresses are summed once per packet. A payload is summed only for a wanted checksum, `next_into` sums
/// while copying.

#include <algorithm>
#include <array>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// Takes apart one super-packet at a time. `ChecksumState wanted` is the state of the datagrams' checksums:
/// `verified` for complete and right checksums, or `to_fill`, with `checksum_start` and `checksum_offset` of
/// the super-packet.
class Segmenter {
 public:
  /// Begins `packet`, a borrowed super-packet with a checksum verified or to fill. Yields no datagram if
  /// `offload` contradicts the packet's headers. Precondition: `offload` was decoded with the packet, or made
  /// for the packet.
  void start(MutableBytes packet, const PacketOffload& offload, DeviceKind kind);
  /// Forgets the packet and the datagrams left.
  void reset();

  /// True from `start` to `reset`.
  bool started() const { return data_ != nullptr; }
  /// True if no datagram is left.
  bool done() const { return next_ == end_; }
  /// The number of datagrams left.
  std::size_t remaining() const { return done() ? 0 : (end_ - next_ + segment_size_ - 1) / segment_size_; }

  /// The payload of the next datagram; empty if no datagram is left.
  Bytes next_payload() {
    const MutableBytes payload = peek();
    advance(payload.size());
    return payload;
  }
  /// The next datagram, within the packet; empty if no datagram is left.
  MutableBytes next_in_place(ChecksumState wanted);
  /// Writes the next datagram to `out`, and returns the datagram's size; 0 if no datagram is left.
  /// Preconditions: `out.size() >= largest()`, and `out` is outside of the packet.
  std::size_t next_into(MutableBytes out, ChecksumState wanted);
  /// The bytes of the next datagram. Precondition: a datagram is left.
  std::size_t next_size() const { return header_length_ + peek().size(); }
  /// The bytes of the largest datagram.
  std::size_t largest() const { return header_length_ + segment_size_; }

 private:
  MutableBytes peek() const { return {data_ + next_, std::min(segment_size_, end_ - next_)}; }
  void advance(std::size_t size) {
    next_ += size;
    index_ += size != 0;
  }
  /// True for the first and the last datagram: the headers of the rest differ in numbers only.
  bool is_edge(std::size_t payload_size) const { return index_ == 0 || next_ + payload_size == end_; }
  MutableBytes in_place(MutableBytes payload, ChecksumState wanted);
  void make_template(Bytes packet);
  /// Turns a copy of the template, and the sums, into the headers and sums of the first or the last datagram.
  void patch_edge(std::byte* out, std::size_t payload_size, std::uint32_t& ip_sum, std::uint64_t& sum) const;
  template <bool is_edge>
  void write(std::byte* out, std::size_t payload_size, ChecksumState wanted, std::uint64_t payload_sum) const;
  void write_edge(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                  std::uint64_t payload_sum) const;
  void write_headers(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                     std::uint64_t payload_sum) const;

  // Zero: not started, and no datagram left.
  std::byte* data_ = nullptr;
  std::size_t next_ = 0;  // offset of the next payload
  std::size_t end_ = 0;
  std::size_t segment_size_ = 0;
  std::size_t header_length_ = 0;
  std::uint32_t index_ = 0;  // index of the next datagram

  Layout layout_;  // layout of the super-packet
  std::uint32_t checksum_at_ = 0;
  bool is_tcp_ = false;
  std::uint8_t first_flags_ = 0;  // flags of the first datagram only
  std::uint8_t last_flags_ = 0;   // flags of the last datagram only
  std::uint16_t identification_ = 0;
  std::uint16_t ip_sum_ = 0;  // the template's IPv4 header without identification and checksum
  std::uint32_t sequence_ = 0;
  std::uint32_t pseudo_sum_ = 0;     // the template's pseudo-header
  std::uint32_t transport_sum_ = 0;  // pseudo-header and transport header, in memory order

  // The template: headers of a datagram in the middle, with the checksum to fill and the sequence number 0.
  std::array<std::byte, longest_headers> template_{};
};

}  // namespace tunport
