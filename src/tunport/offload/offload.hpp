#pragma once
/// The work left to do on a packet: segmentation and checksum. The terms are from the virtio network header
/// (linux/virtio_net.h; virtio 1.2, 5.1.6).
///
/// A super-packet has a single set of headers before the payloads of many datagrams of a flow, up to 64 KiB:
///
///   +--------------------+----------------+----------------+- - -+---------+
///   | link, IP, TCP/UDP  | payload 0      | payload 1      |     | the last|
///   +--------------------+----------------+----------------+- - -+---------+
///    header_length        segment_size     segment_size           1 to segment_size

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tunport/base/bytes.hpp"

namespace tunport {

/// The kind of segments in a packet.
enum class SegmentKind : std::uint8_t {
  none,  ///< a single datagram
  tcp4,  ///< TCP over IPv4 (TSO4)
  tcp6,  ///< TCP over IPv6 (TSO6)
  udp,   ///< UDP over IPv4 or IPv6 (USO)
};

/// The state of a packet's TCP or UDP checksum.
enum class ChecksumState : std::uint8_t {
  unverified,  ///< complete, if the protocol has a checksum, but unverified
  verified,    ///< complete, and verified by a trusted sender
  to_fill,     ///< the field has the sum of the pseudo-header, not complemented; the rest is to be added
};

/// The most bytes before the payload of a super-packet: a segmenter copies the headers. Room for Ethernet,
/// tags, IP and TCP with all options, and for an IPv6 extension header of the largest size (2048).
inline constexpr std::size_t longest_headers = 256 + 2048;

/// The work left to do on a packet. Offsets and lengths are in bytes and lie within the packet: the maker of
/// an offload from input checks them. The alignment makes copies of whole words: GCC copies 14 bytes by two
/// overlapping words, which wait for each other's stores.
struct alignas(8) PacketOffload {
  SegmentKind kind = SegmentKind::none;                ///< kind of the segments
  ChecksumState checksum = ChecksumState::unverified;  ///< state of the TCP or UDP checksum
  bool ecn = false;                                    ///< TCP: only the first segment carries CWR
  std::uint16_t segment_size = 0;     ///< super-packet: payload of each segment but the last, at least 1
  std::uint16_t header_length = 0;    ///< super-packet: bytes before the payload, at most `longest_headers`
  std::uint16_t checksum_start = 0;   ///< to fill: offset of the first summed byte, the transport header
  std::uint16_t checksum_offset = 0;  ///< to fill: offset of the checksum from `checksum_start`

  /// True for a packet of several datagrams.
  constexpr bool is_super_packet() const { return kind != SegmentKind::none; }
  bool operator==(const PacketOffload&) const = default;
};

/// The longest super-packet, in bytes: 65,535 of IPv6 payload, the headers before it, and some VLAN tags.
inline constexpr std::size_t max_super_packet = 65'600;

/// The number of datagrams in a packet of `size` bytes. Precondition: a super-packet has a payload.
constexpr std::size_t datagrams_in(std::size_t size, const PacketOffload& offload) {
  if (!offload.is_super_packet()) return 1;
  return (size - offload.header_length + offload.segment_size - 1) / offload.segment_size;
}

/// The work that a device takes over (TUN_F_* in linux/if_tun.h).
struct OffloadFeatures {
  bool checksum = false;  ///< checksums to fill; required by the rest
  bool tso4 = false;      ///< TCP super-packets over IPv4
  bool tso6 = false;      ///< TCP super-packets over IPv6
  bool ecn = false;       ///< TCP super-packets with CWR
  bool uso = false;       ///< UDP super-packets; the kernel knows IPv4 and IPv6 only together

  /// Every feature.
  static constexpr OffloadFeatures all() { return {true, true, true, true, true}; }
  /// No feature.
  static constexpr OffloadFeatures none() { return {}; }

  /// True with at least one feature.
  constexpr bool any() const { return checksum || tso4 || tso6 || ecn || uso; }
  /// True if the features include the work left by `offload`.
  constexpr bool covers(const PacketOffload& offload) const {
    if (offload.ecn && !ecn) return false;
    switch (offload.kind) {
      case SegmentKind::none:
        return checksum || offload.checksum != ChecksumState::to_fill;
      case SegmentKind::tcp4:
        return tso4;
      case SegmentKind::tcp6:
        return tso6;
      case SegmentKind::udp:
        return uso;
    }
    return false;
  }
  bool operator==(const OffloadFeatures&) const = default;
};

/// The names of the features: "checksum+tso4+tso6"; "off" without a feature.
std::string to_string(const OffloadFeatures& set);
/// The features named by `text`: "off", "auto" for every feature, or names in an arbitrary order, joined by
/// "+". Nothing for an unknown or repeated name, for names without "checksum", and for "ecn" without "tso4"
/// or "tso6".
std::optional<OffloadFeatures> parse_offload_features(std::string_view text);

}  // namespace tunport
