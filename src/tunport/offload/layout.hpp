#pragma once
/// Where the headers of a TCP or UDP datagram lie. The one parse on which segmenting, coalescing and
/// checksums rely: what a virtio header says of a packet is believed only as far as this agrees.

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
  std::uint32_t ip = 0;
  std::uint32_t transport = 0;
  std::uint32_t payload = 0;
  std::uint32_t end = 0;  ///< by the IP header's length: padding is beyond it
  bool v6 = false;
  bool en_route = false;      ///< IPv6, by a routing header with segments left: the pseudo-header is unknown
  std::uint8_t protocol = 0;  ///< ip_protocol::tcp or udp

  constexpr std::uint32_t payload_size() const { return end - payload; }
  /// Of the transport header and its payload, which is what the checksum covers.
  constexpr std::uint32_t transport_size() const { return end - transport; }
  bool operator==(const Layout&) const = default;
};

/// The layout of `packet`, as a device of that kind carries it: from the IP header on, or from the Ethernet
/// header on, any VLAN tags behind it. Nothing unless it is a whole, unfragmented TCP or UDP datagram over
/// IPv4 or IPv6 whose lengths lie within the packet and agree with each other. Checksums are not looked at.
std::optional<Layout> find_layout(Bytes packet, DeviceKind kind);

/// The same for a packet whose checksum is left to fill, which may be en route: the sum of the pseudo-header
/// stands in the packet.
std::optional<Layout> find_layout_to_fill(Bytes packet, DeviceKind kind);

/// Where the headers of link and IP end: the least offset, in bytes, at which a checksum to fill may start.
/// For a packet of no IP the end of the link's header, 0 on TUN.
std::size_t find_headers_end(Bytes packet, DeviceKind kind);

}  // namespace tunport
