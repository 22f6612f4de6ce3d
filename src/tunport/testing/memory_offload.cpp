#include <algorithm>
#include <array>

#include "tunport/offload/layout_internal.hpp"
#include "tunport/testing/memory_offload_internal.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

// linux/virtio_net.h; linux-libc-dev 6.1 lacks the last.
constexpr std::uint8_t needs_checksum = 1;
constexpr std::uint8_t data_valid = 2;
constexpr std::uint8_t type_none = 0;
constexpr std::uint8_t type_tcp4 = 1;
constexpr std::uint8_t type_udp_fragments = 3;
constexpr std::uint8_t type_tcp6 = 4;
constexpr std::uint8_t type_udp = 5;
constexpr std::uint8_t type_ecn = 0x80;

constexpr std::uint16_t by_fragments = 0xffff;  // GSO_BY_FRAGS
constexpr std::size_t max_udp_segments = 128;   // UDP_MAX_SEGMENTS; 64 before 6.9

/// The least sizes of the headers: the kernel's bounds.
struct LeastHeaders {
  std::size_t network = Ipv4Header::size;
  std::size_t transport = 0;
  std::size_t size() const { return network + transport; }
};

std::optional<LeastHeaders> least_headers(std::uint8_t type, const MemoryTraits& traits) {
  if (type == type_none) return LeastHeaders{};
  switch (type & ~type_ecn) {
    case type_tcp4:
      return LeastHeaders{Ipv4Header::size, TcpHeader::size};
    case type_tcp6:
      return LeastHeaders{Ipv6Header::size, TcpHeader::size};
    case type_udp_fragments:
      return LeastHeaders{Ipv4Header::size, UdpHeader::size};
    case type_udp:
      if (traits.uso) return LeastHeaders{Ipv4Header::size, UdpHeader::size};
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

SegmentKind kind_of(std::uint8_t type) {
  switch (type & ~type_ecn) {
    case type_tcp4:
      return SegmentKind::tcp4;
    case type_tcp6:
      return SegmentKind::tcp6;
    case type_udp:
      return SegmentKind::udp;
    default:  // fragments of a datagram are no datagrams: the datagram stays whole
      return SegmentKind::none;
  }
}

/// The sum of the pseudo-header, as in the field of a checksum to fill.
std::uint16_t pseudo_header_sum(Bytes packet, const Layout& layout, std::size_t transport_size) {
  const auto address = [&](std::size_t v4, std::size_t v6) {
    return layout.v6 ? IpAddress{Ipv6Address::load(packet, layout.ip + v6)}
                     : IpAddress{Ipv4Address::load(packet, layout.ip + v4)};
  };
  return Checksum{}
      .add_pseudo_header(address(12, 8), address(16, 24), layout.protocol,
                         static_cast<std::uint32_t>(transport_size))
      .fold();
}

/// The sum of the pseudo-header, from the sum for another length.
std::uint16_t adjusted_sum(std::uint16_t sum, std::size_t length_before, std::size_t length) {
  std::array<std::byte, 6> words{};
  store_be16(words, 0, sum);
  store_be16(words, 2, static_cast<std::uint16_t>(~length_before));
  store_be16(words, 4, static_cast<std::uint16_t>(length));
  return Checksum{}.add(words).fold();
}

bool is_of_kind(const Layout& layout, SegmentKind kind) {
  if (kind == SegmentKind::udp) return layout.protocol == ip_protocol::udp;
  return layout.protocol == ip_protocol::tcp && layout.v6 == (kind == SegmentKind::tcp6);
}

/// Turns the headers of the super-packet into the headers of the datagram `index`.
void adapt_headers(MutableBytes segment, const Layout& layout, std::size_t index, std::size_t segment_size,
                   bool is_last) {
  const std::size_t ip_size = segment.size() - layout.ip;
  const std::size_t transport_size = segment.size() - layout.transport;
  if (layout.v6) {
    store_be16(segment, layout.ip + 4, static_cast<std::uint16_t>(ip_size - Ipv6Header::size));
  } else {
    const MutableBytes header = segment.subspan(layout.ip, layout.transport - layout.ip);
    store_be16(header, 2, static_cast<std::uint16_t>(ip_size));
    store_be16(header, 4, static_cast<std::uint16_t>(load_be16(header, 4) + index));
    store_be16(header, 10, 0);
    store_be16(header, 10, internet_checksum(header));
  }
  const MutableBytes transport = segment.subspan(layout.transport);
  const std::size_t field = layout.protocol == ip_protocol::udp ? UdpHeader::checksum_offset
                                                                : std::size_t{TcpHeader::checksum_offset};
  // As tcp_gso_segment(), __udp_gso_segment(): a packet en route has only the sum in the field.
  const std::uint16_t sum =
      layout.en_route ? adjusted_sum(load_be16(transport, field), layout.transport_size(), transport_size)
                      : pseudo_header_sum(segment, layout, transport_size);
  if (layout.protocol == ip_protocol::udp) {
    store_be16(transport, 4, static_cast<std::uint16_t>(transport_size));
    store_be16(transport, UdpHeader::checksum_offset, sum);
    return;
  }
  constexpr std::size_t sequence = TcpHeader::sequence_offset;
  store_be32(transport, sequence,
             load_be32(transport, sequence) + static_cast<std::uint32_t>(index * segment_size));
  unsigned flags = load_u8(transport, TcpHeader::flags_offset);
  if (!is_last) flags &= ~unsigned{tcp_flag::fin | tcp_flag::psh};
  if (index != 0) flags &= ~unsigned{tcp_flag::cwr};
  store_u8(transport, TcpHeader::flags_offset, static_cast<std::uint8_t>(flags));
  store_be16(transport, TcpHeader::checksum_offset, sum);
}

/// As gso_make_checksum(). Only UDP changes a 0 (__udp_gso_segment()).
void complete_segment(MutableBytes segment, const Layout& layout) {
  const MutableBytes transport = segment.subspan(layout.transport);
  const bool is_udp = layout.protocol == ip_protocol::udp;
  const std::uint16_t checksum = internet_checksum(transport);
  store_be16(transport, is_udp ? UdpHeader::checksum_offset : std::size_t{TcpHeader::checksum_offset},
             is_udp && checksum == 0 ? 0xffff : checksum);
}

}  // namespace

MemoryVirtioHeader MemoryVirtioHeader::load(Bytes bytes, std::endian order) {
  const auto number = [&](std::size_t offset) { return load_u16(bytes, offset, order); };
  return {load_u8(bytes, 0), load_u8(bytes, 1), number(2), number(4), number(6), number(8)};
}

void MemoryVirtioHeader::store(MutableBytes bytes, std::endian order) const {
  store_u8(bytes, 0, flags);
  store_u8(bytes, 1, type);
  store_u16(bytes, 2, order, header_length);
  store_u16(bytes, 4, order, segment_size);
  store_u16(bytes, 6, order, checksum_start);
  store_u16(bytes, 8, order, checksum_offset);
}

// virtio_net_hdr_from_skb()
MemoryVirtioHeader MemoryVirtioHeader::of(const PacketOffload& offload) {
  constexpr std::array<std::uint8_t, 4> types{type_none, type_tcp4, type_tcp6, type_udp};
  MemoryVirtioHeader header;
  if (offload.is_super_packet()) {
    header.type = static_cast<std::uint8_t>(types[static_cast<std::size_t>(offload.kind)] |
                                            (offload.ecn ? type_ecn : 0));
    header.header_length = offload.header_length;
    header.segment_size = offload.segment_size;
  }
  if (offload.checksum == ChecksumState::to_fill) {
    header.flags = needs_checksum;
    header.checksum_start = offload.checksum_start;
    header.checksum_offset = offload.checksum_offset;
  } else if (offload.checksum == ChecksumState::verified) {
    header.flags = data_valid;
  }
  return header;
}

// __tun_vnet_hdr_get() in drivers/net/tun_vnet.h
std::size_t MemoryVirtioHeader::reach() const {
  const std::size_t filled = std::size_t{checksum_start} + checksum_offset + 2;
  return (flags & needs_checksum) != 0 ? std::max<std::size_t>(filled, header_length) : header_length;
}

// virtio_net_hdr_to_skb()
std::optional<PacketOffload> MemoryVirtioHeader::offload_of(Bytes packet, DeviceKind kind,
                                                            const MemoryTraits& traits) const {
  const auto least = least_headers(type, traits);
  if (!least || (type != type_none && segment_size == 0)) return std::nullopt;
  const bool fills = (flags & needs_checksum) != 0;
  std::size_t headers = least->size();
  PacketOffload offload;
  if (fills) {
    const std::size_t needed =
        checksum_start + std::max<std::size_t>(least->transport, std::size_t{checksum_offset} + 2);
    if (needed > packet.size() || checksum_start < least->network) return std::nullopt;
    headers = checksum_start + least->transport;
    offload.checksum = ChecksumState::to_fill;
    offload.checksum_start = checksum_start;
    offload.checksum_offset = checksum_offset;
  }
  if (type == type_none) return offload;
  if (headers > packet.size() || segment_size == by_fragments) return std::nullopt;
  switch (kind_of(type)) {
    case SegmentKind::udp:
      if (!fills || checksum_offset != UdpHeader::checksum_offset || (type & type_ecn) != 0 ||
          packet.size() - headers > segment_size * max_udp_segments)
        return std::nullopt;
      break;
    case SegmentKind::tcp4:
    case SegmentKind::tcp6:
      if (fills && checksum_offset != TcpHeader::checksum_offset) return std::nullopt;
      break;
    case SegmentKind::none:
      return offload;
  }
  // A payload of at most a segment is a single datagram.
  if (packet.size() - headers <= segment_size) return offload;
  const auto layout = find_layout_to_fill(packet, kind);
  offload.kind = kind_of(type);
  offload.ecn = (type & type_ecn) != 0;
  offload.segment_size = segment_size;
  offload.header_length = static_cast<std::uint16_t>(layout ? layout->payload : headers);
  return offload;
}

// skb_checksum_help(), which ignores the protocol, too
void fill_checksum(MutableBytes packet, const PacketOffload& offload) {
  if (offload.checksum != ChecksumState::to_fill) return;
  const MutableBytes covered = packet.subspan(offload.checksum_start);
  const std::uint16_t checksum = internet_checksum(covered);
  store_be16(covered, offload.checksum_offset, checksum == 0 ? 0xffff : checksum);
}

std::vector<WrittenPacket> split(Bytes packet, const PacketOffload& offload, DeviceKind kind, bool complete) {
  std::vector<WrittenPacket> segments;
  const auto layout = find_layout_to_fill(packet, kind);
  if (!layout || offload.segment_size == 0 || !is_of_kind(*layout, offload.kind)) return segments;
  const Bytes headers = packet.first(layout->payload);
  Bytes left = packet.subspan(layout->payload, layout->payload_size());
  const bool is_udp = layout->protocol == ip_protocol::udp;
  while (!left.empty()) {
    const Bytes payload = left.first(std::min<std::size_t>(left.size(), offload.segment_size));
    left = left.subspan(payload.size());
    WrittenPacket segment;
    segment.bytes.assign(headers.begin(), headers.end());
    segment.bytes.insert(segment.bytes.end(), payload.begin(), payload.end());
    adapt_headers(segment.bytes, *layout, segments.size(), offload.segment_size, left.empty());
    segment.offload = {.checksum = ChecksumState::to_fill,
                       .checksum_start = static_cast<std::uint16_t>(layout->transport),
                       .checksum_offset = static_cast<std::uint16_t>(is_udp ? UdpHeader::checksum_offset
                                                                            : TcpHeader::checksum_offset)};
    if (complete) {
      complete_segment(segment.bytes, *layout);
      segment.offload = {};
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

}  // namespace tunport
