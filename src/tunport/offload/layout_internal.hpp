#pragma once
/// Finds the headers of a TCP or UDP datagram. Segmentation and checksums rely on this parse, and a virtio
/// header is believed only as far as the parse agrees.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"

namespace tunport {

/// The headers of an unfragmented TCP or UDP datagram: offsets from the packet's start, in bytes.
///
///   +------------------+-----------------+---------------+-----------+ - - - -+
///   | Ethernet, tags   | IP, options or  | TCP + options | payload   | padding
///   | (TAP only)       | ext. headers    | or UDP        |           |
///   +------------------+-----------------+---------------+-----------+ - - - -+
///   0                  ip                transport       payload     end
struct Layout {
  std::uint32_t ip = 0;         ///< offset of the IP header
  std::uint32_t transport = 0;  ///< offset of the TCP or UDP header
  std::uint32_t payload = 0;    ///< offset of the payload
  std::uint32_t end = 0;        ///< end by the IP header's length: padding follows
  bool v6 = false;              ///< IPv6, else IPv4
  bool en_route = false;        ///< IPv6 with segments left in a routing header: the pseudo-header is unknown
  std::uint8_t protocol = 0;    ///< ip_protocol::tcp or udp

  /// The bytes of the payload.
  constexpr std::uint32_t payload_size() const { return end - payload; }
  /// The bytes of the transport header and its payload: the checksum covers them.
  constexpr std::uint32_t transport_size() const { return end - transport; }
  bool operator==(const Layout&) const = default;
};

/// The layout of `packet`. A packet starts with the IP header on TUN, with the Ethernet header and VLAN tags
/// on TAP. Nothing unless the packet is a whole, unfragmented TCP or UDP datagram over IPv4 or IPv6, with
/// lengths that agree and lie within the packet. Checksums are not verified.
std::optional<Layout> find_layout(Bytes packet, DeviceKind kind);

/// As `find_layout`, for a packet with a checksum to fill: the packet has the sum of the pseudo-header, and
/// may therefore be en route.
std::optional<Layout> find_layout_to_fill(Bytes packet, DeviceKind kind);

/// The end of the headers of link and IP: the least offset, in bytes, at which a checksum to fill may start.
/// For a packet without IP, the end of the link's header; 0 on TUN.
std::size_t find_headers_end(Bytes packet, DeviceKind kind);

}  // namespace tunport
