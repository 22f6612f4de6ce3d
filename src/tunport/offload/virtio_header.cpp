#include <algorithm>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport::virtio_header {
namespace {

using namespace detail;

constexpr void store(MutableBytes header, std::size_t at, std::endian order, std::uint16_t value) {
  store_be16(header, at,
             order == std::endian::big ? value : static_cast<std::uint16_t>(value << 8 | value >> 8));
}

/// The kind of a GSO type without flag; `none` for an unknown type.
constexpr SegmentKind kind_of(std::uint8_t gso_type) {
  switch (gso_type) {
    case gso_tcp4:
      return SegmentKind::tcp4;
    case gso_tcp6:
      return SegmentKind::tcp6;
    case gso_udp:
      return SegmentKind::udp;
    default:
      return SegmentKind::none;
  }
}

constexpr std::uint8_t gso_type_of(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::none:
      return gso_none;
    case SegmentKind::tcp4:
      return gso_tcp4;
    case SegmentKind::tcp6:
      return gso_tcp6;
    case SegmentKind::udp:
      return gso_udp;
  }
  return gso_none;
}

/// The kind of the segments of a super-packet with the layout.
constexpr SegmentKind kind_of(const Layout& layout) {
  if (layout.protocol == ip_protocol::udp) return SegmentKind::udp;
  return layout.v6 ? SegmentKind::tcp6 : SegmentKind::tcp4;
}

}  // namespace

bool detail::decode_segments(Bytes header, std::endian order, Bytes packet, DeviceKind kind,
                             PacketOffload& offload) {
  const std::uint8_t gso_type = load_u8(header, gso_type_at);
  const std::uint16_t gso_size = load(header, gso_size_at, order);
  const auto segments = kind_of(static_cast<std::uint8_t>(gso_type & ~gso_ecn));
  if (segments == SegmentKind::none || gso_size == 0 || offload.checksum == ChecksumState::unverified)
    return false;
  const bool to_fill = offload.checksum == ChecksumState::to_fill;
  const auto layout = to_fill ? find_layout_to_fill(packet, kind) : find_layout(packet, kind);
  if (!layout || kind_of(*layout) != segments || layout->end != packet.size() ||
      layout->payload > longest_headers)
    return false;
  if (to_fill &&
      (offload.checksum_start != layout->transport || offload.checksum_offset != checksum_offset_of(*layout)))
    return false;
  const bool is_tcp = segments != SegmentKind::udp;
  if (!is_tcp && (gso_type & gso_ecn) != 0) return false;
  if (layout->payload_size() <= gso_size) return true;
  offload.kind = segments;
  // The packet's own flag counts; the header merely repeats the flag.
  offload.ecn = is_tcp && (load_u8(packet, layout->transport + TcpHeader::flags_offset) & tcp_flag::cwr) != 0;
  offload.segment_size = gso_size;
  offload.header_length = static_cast<std::uint16_t>(layout->payload);
  return true;
}

void encode(const PacketOffload& offload, std::endian order, MutableBytes header) {
  std::fill(header.begin(), header.end(), std::byte{0});
  const bool to_fill = offload.checksum == ChecksumState::to_fill;
  if (to_fill) {
    store_u8(header, flags_at, needs_checksum);
    store(header, checksum_start_at, order, offload.checksum_start);
    store(header, checksum_offset_at, order, offload.checksum_offset);
  } else if (offload.checksum == ChecksumState::verified) {
    store_u8(header, flags_at, data_valid);
  }
  if (!offload.is_super_packet()) return;
  store_u8(header, gso_type_at,
           static_cast<std::uint8_t>(gso_type_of(offload.kind) | (offload.ecn ? gso_ecn : 0)));
  store(header, header_length_at, order, offload.header_length);
  store(header, gso_size_at, order, offload.segment_size);
}

}  // namespace tunport::virtio_header
