#pragma once
/// Plain segmentation of a coalescer's output: the reference for the tests and the fuzzer of coalescing.

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/wire/address.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport::apart {

using Buffer = std::vector<std::byte>;

/// A packet, and the work left to do.
struct Packet {
  Buffer bytes;
  PacketOffload left{};
  std::size_t datagrams = 1;
  std::size_t parts = 1;

  bool operator==(const Packet& other) const { return bytes == other.bytes && left == other.left; }
};

/// A copy of a coalescer's packet, contiguous.
inline Packet packet_of(const Coalesced& coalesced) {
  Packet packet{{}, coalesced.offload, coalesced.datagrams, coalesced.parts.size()};
  for (const iovec& part : coalesced.parts) {
    const auto* data = static_cast<const std::byte*>(part.iov_base);
    packet.bytes.insert(packet.bytes.end(), data, data + part.iov_len);
  }
  return packet;
}

/// Flushes the coalescer, and returns its packets.
inline std::vector<Packet> flushed(Coalescer& coalescer) {
  std::vector<Packet> packets;
  coalescer.flush([&](const Coalesced& coalesced) { packets.push_back(packet_of(coalesced)); });
  return packets;
}

/// Fills a checksum left to fill.
inline Packet completed(Packet packet) {
  if (packet.left.checksum != ChecksumState::to_fill) return packet;
  const MutableBytes bytes{packet.bytes};
  const std::size_t field = std::size_t{packet.left.checksum_start} + packet.left.checksum_offset;
  std::uint16_t checksum = internet_checksum(bytes.subspan(packet.left.checksum_start));
  if (checksum == 0 && packet.left.checksum_offset == 6) checksum = 0xffff;
  store_be16(bytes, field, checksum);
  packet.left = {};
  return packet;
}

/// Corrects lengths and checksums, of the IPv4 header and of the transport header. `layout` gives the places
/// of the headers, as `find_layout` found them before any change of the packet's size. The checksum field of
/// a packet en route holds the sum of a pseudo-header for the length before.
inline Buffer mended(Buffer packet, const Layout& layout) {
  const MutableBytes bytes{packet};
  const MutableBytes ip = bytes.subspan(layout.ip, layout.transport - layout.ip);
  const MutableBytes transport = bytes.subspan(layout.transport);
  IpAddress source = Ipv4Address{};
  IpAddress destination = Ipv4Address{};
  if (layout.v6) {
    store_be16(ip, 4, static_cast<std::uint16_t>(bytes.size() - layout.ip - 40));
    source = Ipv6Address::load(ip, 8);
    destination = Ipv6Address::load(ip, 24);
  } else {
    store_be16(ip, 2, static_cast<std::uint16_t>(bytes.size() - layout.ip));
    store_be16(ip, 10, 0);
    store_be16(ip, 10, internet_checksum(ip));
    source = Ipv4Address::load(ip, 12);
    destination = Ipv4Address::load(ip, 16);
  }
  const bool udp = layout.protocol == ip_protocol::udp;
  const std::size_t field = udp ? 6 : TcpHeader::checksum_offset;
  if (udp) store_be16(transport, 4, static_cast<std::uint16_t>(transport.size()));
  std::array<std::byte, 6> words{};
  store_be16(words, 0, load_be16(transport, field));
  store_be16(words, 2, static_cast<std::uint16_t>(~layout.transport_size()));
  store_be16(words, 4, static_cast<std::uint16_t>(transport.size()));
  Checksum sum;
  if (layout.en_route)
    sum.add(words);
  else
    sum.add_pseudo_header(source, destination, layout.protocol, static_cast<std::uint32_t>(transport.size()));
  store_be16(transport, field, 0);
  std::uint16_t checksum = sum.add(transport).finish();
  if (checksum == 0 && udp) checksum = 0xffff;
  store_be16(transport, field, checksum);
  return packet;
}

/// The same with the layout of `packet`. Precondition: `find_layout` finds the headers.
inline Buffer mended(const Buffer& packet, DeviceKind kind) {
  return mended(packet, find_layout(packet, kind).value());
}

/// The datagrams of a packet: complete segments of a super-packet, or a single datagram unchanged.
inline std::vector<Packet> segments(const Packet& packet, DeviceKind kind) {
  if (!packet.left.is_super_packet()) return {packet};
  const Layout whole =
      (packet.left.checksum == ChecksumState::to_fill ? find_layout_to_fill(packet.bytes, kind)
                                                      : find_layout(packet.bytes, kind))
          .value();
  std::vector<Packet> result;
  for (std::size_t at = whole.payload; at < packet.bytes.size(); at += packet.left.segment_size) {
    const std::size_t end = std::min(packet.bytes.size(), at + packet.left.segment_size);
    Buffer segment(packet.bytes.begin(), packet.bytes.begin() + whole.payload);
    segment.insert(segment.end(), packet.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                   packet.bytes.begin() + static_cast<std::ptrdiff_t>(end));
    const MutableBytes bytes{segment};
    if (!whole.v6) {
      const auto id = load_be16(bytes, whole.ip + 4U) + result.size();
      store_be16(bytes, whole.ip + 4U, static_cast<std::uint16_t>(id));
    }
    if (whole.protocol == ip_protocol::tcp) {
      const MutableBytes tcp = bytes.subspan(whole.transport);
      std::uint8_t flags = load_u8(tcp, TcpHeader::flags_offset);
      if (!result.empty()) flags &= static_cast<std::uint8_t>(~tcp_flag::cwr);
      if (end != packet.bytes.size()) flags &= static_cast<std::uint8_t>(~(tcp_flag::fin | tcp_flag::psh));
      store_u8(tcp, TcpHeader::flags_offset, flags);
      store_be32(tcp, TcpHeader::sequence_offset,
                 load_be32(tcp, TcpHeader::sequence_offset) + static_cast<std::uint32_t>(at - whole.payload));
    }
    result.push_back({mended(std::move(segment), whole)});
  }
  return result;
}

/// The datagrams of many packets, in order.
inline std::vector<Packet> segments(const std::vector<Packet>& packets, DeviceKind kind) {
  std::vector<Packet> result;
  for (const Packet& packet : packets)
    for (Packet& segment : segments(packet, kind)) result.push_back(std::move(segment));
  return result;
}

/// The part of a packet that coalescing must keep: the complete packet, without the meaningless
/// identification of an atomic IPv4 datagram.
inline Buffer essence(const Packet& packet, DeviceKind kind) {
  Buffer bytes = completed(packet).bytes;
  const auto layout = find_layout(bytes, kind);
  if (!layout || layout->v6 || (load_be16(bytes, layout->ip + 6U) & 0x4000) == 0) return bytes;
  // The header's checksum goes too, unless wrong: a wrong datagram must come out unchanged.
  const MutableBytes ip = MutableBytes{bytes}.subspan(layout->ip, layout->transport - layout->ip);
  if (internet_checksum(ip) != 0) return bytes;
  store_be16(ip, 4, 0);
  store_be16(ip, 10, 0);
  return bytes;
}

}  // namespace tunport::apart
