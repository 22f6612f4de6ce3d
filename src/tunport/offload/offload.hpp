#pragma once
/// What is left to do on a packet by whoever takes it: segmentation and checksum. The words are those of the
/// virtio network header (linux/virtio_net.h; virtio 1.2, 5.1.6), by which the kernel says it.
///
/// A super-packet is one header before the payloads of many datagrams of one flow, up to 64 KiB:
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

/// What the segments of a super-packet are.
enum class SegmentKind : std::uint8_t {
  none,  ///< a single datagram
  tcp4,  ///< TCP over IPv4 (TSO4)
  tcp6,  ///< TCP over IPv6 (TSO6)
  udp,   ///< UDP over either (USO)
};

/// What is known of a packet's TCP or UDP checksum.
enum class ChecksumState : std::uint8_t {
  unverified,  ///< one is there, if the protocol has one; nobody has looked
  verified,    ///< somebody whom we trust has looked
  to_fill,     ///< its field holds the pseudo-header's sum, not complemented; the rest is to be added to it
};

/// The most bytes before the payload of a super-packet: a segmenter keeps them aside. Room for Ethernet,
/// tags, IP and TCP with all their options, and for IPv6 extension headers of the longest that one can be
/// (2048).
inline constexpr std::size_t longest_headers = 256 + 2048;

/// What is left to do on a packet. All offsets and lengths are in bytes and lie within the packet that this
/// accompanies: whoever makes one from input has checked that. Aligned so that it is copied in whole words:
/// of 14 bytes GCC makes two copies that overlap, and each waits for the store of the other.
struct alignas(8) PacketOffload {
  SegmentKind kind = SegmentKind::none;
  ChecksumState checksum = ChecksumState::unverified;
  bool ecn = false;                ///< TCP: the first segment carries CWR, the others must not
  std::uint16_t segment_size = 0;  ///< of a super-packet: payload of each segment but the last, at least 1
  std::uint16_t header_length =
      0;  ///< of a super-packet: what precedes the payload, at most `longest_headers`
  std::uint16_t checksum_start = 0;   ///< to fill: where the sum starts, the transport header
  std::uint16_t checksum_offset = 0;  ///< to fill: where it goes, from there

  constexpr bool is_super_packet() const { return kind != SegmentKind::none; }
  bool operator==(const PacketOffload&) const = default;
};

/// The longest super-packet, in bytes: 65,535 of IPv6 payload, the headers before it, and some VLAN tags.
inline constexpr std::size_t max_super_packet = 65'600;

/// How many datagrams a packet of that size is. Precondition: a super-packet's size is beyond its headers.
constexpr std::size_t datagrams_in(std::size_t size, const PacketOffload& offload) {
  if (!offload.is_super_packet()) return 1;
  return (size - offload.header_length + offload.segment_size - 1) / offload.segment_size;
}

/// Which work a device takes over (TUN_F_* in linux/if_tun.h).
struct OffloadFeatures {
  bool checksum = false;  ///< checksums to fill; all others need it
  bool tso4 = false;      ///< TCP super-packets over IPv4
  bool tso6 = false;      ///< TCP super-packets over IPv6
  bool ecn = false;       ///< such with CWR
  bool uso = false;       ///< UDP super-packets over IPv4 and IPv6, which the kernel knows together only

  static constexpr OffloadFeatures all() { return {true, true, true, true, true}; }
  static constexpr OffloadFeatures none() { return {}; }

  constexpr bool any() const { return checksum || tso4 || tso6 || ecn || uso; }
  /// True if a packet with this left to do may be given to a device that takes this over.
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

/// The names of what is in it: "checksum+tso4+tso6"; "off" for none.
std::string to_string(const OffloadFeatures& set);
/// Reads that back, names in any order, and "auto" for all; nothing if it is not that, or names work without
/// "checksum".
std::optional<OffloadFeatures> parse_offload_features(std::string_view text);

}  // namespace tunport
