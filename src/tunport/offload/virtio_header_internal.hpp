#pragma once
/// The virtio network header before each packet on a descriptor with IFF_VNET_HDR (virtio 1.2, 5.1.6;
/// linux/virtio_net.h, drivers/net/tun_vnet.h).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Flags     |   GSO type    |         Header length         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |           GSO size            |        Checksum start         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |        Checksum offset        |  more, to the header's size
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -
///
/// The byte order of the numbers is the machine's, or as set by TUNSETVNETLE or TUNSETVNETBE. A header may be
/// longer (TUNSETVNETHDRSZ; a device keeps the size set by an earlier program). TUN/TAP ignores bytes 10
/// to 19. Bytes 20 and 22 start two offsets of a UDP tunnel: Linux 6.17 and later reads them in a header of
/// 24 bytes or more, for the GSO types 0x20 and 0x40. Tunnel packets are never requested, and refused by
/// `decode`; `encode` writes zeros from byte 10 on.
///
/// The other end may be hostile: a header is believed only as far as the packet agrees. The lengths and
/// offsets of a super-packet come from `find_layout`, and the header must agree with them. The header length
/// of a header is a mere hint, and is ignored.

#include <bit>
#include <cstring>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// The virtio header's constants, because linux-libc-dev 6.1 lacks VIRTIO_NET_HDR_GSO_UDP_L4, and functions.
namespace virtio_header {

inline constexpr std::size_t size = 10;  ///< the least size of a header, in bytes

inline constexpr std::uint8_t needs_checksum = 1;  ///< VIRTIO_NET_HDR_F_NEEDS_CSUM
inline constexpr std::uint8_t data_valid = 2;      ///< VIRTIO_NET_HDR_F_DATA_VALID

inline constexpr std::uint8_t gso_none = 0;    ///< VIRTIO_NET_HDR_GSO_NONE
inline constexpr std::uint8_t gso_tcp4 = 1;    ///< VIRTIO_NET_HDR_GSO_TCPV4
inline constexpr std::uint8_t gso_tcp6 = 4;    ///< VIRTIO_NET_HDR_GSO_TCPV6
inline constexpr std::uint8_t gso_udp = 5;     ///< VIRTIO_NET_HDR_GSO_UDP_L4
inline constexpr std::uint8_t gso_ecn = 0x80;  ///< VIRTIO_NET_HDR_GSO_ECN, a flag

namespace detail {

// Offsets of the fields.
inline constexpr std::size_t flags_at = 0;
inline constexpr std::size_t gso_type_at = 1;
inline constexpr std::size_t header_length_at = 2;
inline constexpr std::size_t gso_size_at = 4;
inline constexpr std::size_t checksum_start_at = 6;
inline constexpr std::size_t checksum_offset_at = 8;

constexpr std::uint16_t load(Bytes header, std::size_t at, std::endian order) {
  const std::uint16_t big = load_be16(header, at);
  return order == std::endian::big ? big : static_cast<std::uint16_t>(big << 8 | big >> 8);
}

/// Sets the fields of the checksum; false for a checksum beyond the packet.
inline bool decode_checksum(Bytes header, std::endian order, Bytes packet, PacketOffload& offload) {
  const std::uint8_t flags = load_u8(header, flags_at);
  if ((flags & needs_checksum) == 0) {
    if ((flags & data_valid) != 0) offload.checksum = ChecksumState::verified;
    return true;
  }
  offload.checksum = ChecksumState::to_fill;
  offload.checksum_start = load(header, checksum_start_at, order);
  offload.checksum_offset = load(header, checksum_offset_at, order);
  return std::size_t{offload.checksum_start} + offload.checksum_offset + 2 <= packet.size();
}

/// False if a checksum to fill would change the headers of link or IP.
inline bool spares_headers(Bytes packet, DeviceKind kind, const PacketOffload& offload) {
  return offload.checksum != ChecksumState::to_fill ||
         offload.checksum_start >= find_headers_end(packet, kind);
}

/// Sets the fields of the segments; false if the header contradicts the packet. Precondition: the fields of
/// the checksum are set.
bool decode_segments(Bytes header, std::endian order, Bytes packet, DeviceKind kind, PacketOffload& offload);

}  // namespace detail

/// The offload of `packet`, by the header before the packet. A super-packet with a payload of at most one
/// segment becomes a plain datagram. Else nothing, and `why` is `bad_offload`: a field beyond the packet, or
/// in contradiction to the packet's headers; a checksum to fill within the headers of link or IP; a
/// super-packet with a checksum neither to fill nor verified; UFO and further kinds, never requested.
/// Precondition: `header.size() >= size`.
inline std::optional<PacketOffload> decode(Bytes header, std::endian order, Bytes packet, DeviceKind kind,
                                           DropReason& why) {
  std::optional<PacketOffload> offload{std::in_place};
  // The header of most packets is zero throughout: nothing to do.
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::memcpy(&first, header.data(), 8);
  std::memcpy(&last, header.data() + 2, 8);
  if ((first | last) == 0) return offload;
  const bool is_single = load_u8(header, detail::gso_type_at) == gso_none;
  if (!detail::decode_checksum(header, order, packet, *offload) ||
      (is_single ? !detail::spares_headers(packet, kind, *offload)
                 : !detail::decode_segments(header, order, packet, kind, *offload))) {
    why = DropReason::bad_offload;
    offload.reset();
  }
  return offload;
}

/// Writes all bytes of `header`. The kernel takes a super-packet only with a checksum to fill
/// (`prepare_checksum`). Precondition: `header.size() >= size`.
void encode(const PacketOffload& offload, std::endian order, MutableBytes header);

}  // namespace virtio_header

}  // namespace tunport
