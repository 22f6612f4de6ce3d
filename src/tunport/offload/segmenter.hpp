#pragma once
/// Takes a super-packet apart, datagram by datagram, in one of three ways which may be mixed:
///
///   - `next_payload`: the next datagram's payload, where it lies. Nothing is written.
///   - `next_in_place`: the next datagram whole. Its headers are written right before its payload, over what
///     was handed out before: the tail of payload i, or the packet's own headers.
///
///       +-----------+-----------------+-----------------+- - -      the super-packet
///       |  headers  | payload 0       | payload 1       |
///       +-----------+-----------------+-----------------+- - -
///       +-----------+-----------------+                             datagram 0
///                         +-----------+-----------------+           datagram 1
///
///   - `next_into`: the next datagram whole, in another buffer. The super-packet stays as it is.
///
/// Who owns what: the packet is the caller's and must stay until the last datagram is taken or `reset` is
/// called. A datagram handed out is good until the next call. The segmenter keeps the headers aside and holds
/// nothing else; nothing is allocated.
///
/// What changes from datagram to datagram: IP lengths, the IPv4 identification, which counts on, and header
/// checksum; UDP length; TCP sequence number, CWR (on the first only), FIN and PSH (on the last only); the
/// transport checksum. All else is copied. An IPv6 packet en route (`Layout::en_route`) does not say its
/// final address: the sum that its checksum field holds to be filled is adjusted. This is what the kernel
/// makes of it (net/ipv4/af_inet.c, inet_gso_segment; tcp_offload.c; udp_offload.c).
///
/// What it costs: per datagram a copy of the headers, a few stores, and sums of single words, as the sums
/// over headers and addresses are made once. A payload is summed only where checksums are wanted, and while
/// it is copied where it is copied.

#include <algorithm>
#include <array>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/layout.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// One super-packet at a time, taken apart. `ChecksumState wanted` is what is to be had of the datagrams'
/// checksums: `verified`, complete and right; or `to_fill`, as `PacketOffload` has it, `checksum_start` and
/// `checksum_offset` being those of the super-packet.
class Segmenter {
 public:
  /// Begins with `packet`, whose checksum is verified or to be filled; not held. Precondition: `offload` is
  /// of a super-packet, and was decoded with it or made for it. Where the packet's headers are not what
  /// `offload` says, nothing comes out.
  void start(MutableBytes packet, const PacketOffload& offload, DeviceKind kind);
  /// Forgets the packet, whatever is left of it.
  void reset();

  /// True from `start` to `reset`.
  bool started() const { return data_ != nullptr; }
  /// True if no datagram is left.
  bool done() const { return next_ == end_; }
  /// How many datagrams are left.
  std::size_t remaining() const { return done() ? 0 : (end_ - next_ + segment_size_ - 1) / segment_size_; }

  /// The next datagram's payload; empty if there is none.
  Bytes next_payload() {
    const MutableBytes payload = peek();
    advance(payload.size());
    return payload;
  }
  /// The next datagram, within the packet; empty if there is none.
  MutableBytes next_in_place(ChecksumState wanted);
  /// Writes the next datagram to `out` and returns its size; 0 if there is none. Precondition: `out.size() >=
  /// largest()`, and it is not within the packet.
  std::size_t next_into(MutableBytes out, ChecksumState wanted);
  /// The size of the largest datagram.
  std::size_t largest() const { return header_length_ + segment_size_; }

 private:
  MutableBytes peek() const { return {data_ + next_, std::min(segment_size_, end_ - next_)}; }
  void advance(std::size_t size) {
    next_ += size;
    index_ += size != 0;
  }
  /// True for the first and the last datagram, which differ from all others.
  bool is_edge(std::size_t payload_size) const { return index_ == 0 || next_ + payload_size == end_; }
  MutableBytes in_place(MutableBytes payload, ChecksumState wanted);
  void make_template(Bytes packet);
  /// Makes the template's copy, and its sums, those of the first or the last datagram.
  void patch_edge(std::byte* out, std::size_t payload_size, std::uint32_t& ip_sum, std::uint64_t& sum) const;
  template <bool is_edge>
  void write(std::byte* out, std::size_t payload_size, ChecksumState wanted, std::uint64_t payload_sum) const;
  void write_edge(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                  std::uint64_t payload_sum) const;
  void write_headers(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                     std::uint64_t payload_sum) const;

  // All zero: nothing started, and nothing left.
  std::byte* data_ = nullptr;
  std::size_t next_ = 0;  // where the next payload begins
  std::size_t end_ = 0;
  std::size_t segment_size_ = 0;
  std::size_t header_length_ = 0;
  std::uint32_t index_ = 0;  // of the next datagram

  Layout layout_;  // of the super-packet
  std::uint32_t checksum_at_ = 0;
  bool is_tcp_ = false;
  std::uint8_t first_flags_ = 0;  // those that only the first datagram has
  std::uint8_t last_flags_ = 0;   // those that only the last one has
  std::uint16_t identification_ = 0;
  std::uint16_t ip_sum_ = 0;  // of the template's IPv4 header without identification and checksum
  std::uint32_t sequence_ = 0;
  std::uint32_t pseudo_sum_ = 0;     // of the template's pseudo-header
  std::uint32_t transport_sum_ = 0;  // of that and of its transport header, as it lies in memory

  // A template is a datagram's headers between first and last, to be filled, its sequence number 0.
  std::array<std::byte, longest_headers> template_{};
};

}  // namespace tunport
