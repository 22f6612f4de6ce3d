#pragma once
/// Datagrams for tests, built from scratch with the headers of wire/: each shape of a super-packet, and its
/// segments.

#include <algorithm>
#include <string>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ethernet.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport::shapes {

using Buffer = std::vector<std::byte>;

/// The shape of a datagram. The default is TCP over IPv4 on TUN without extras.
struct Shape {
  std::uint8_t protocol = ip_protocol::tcp;
  bool v6 = false;
  bool extras = false;             ///< IPv4 options, or IPv6 extension headers
  std::uint8_t segments_left = 0;  ///< in the IPv6 routing header of the extras
  std::size_t more_options = 0;    ///< bytes more in the IPv6 destination options of the extras; by 8
  DeviceKind kind = DeviceKind::tun;
  std::size_t tags = 0;  ///< VLAN tags; the outer of two is a service tag
  std::uint8_t flags = tcp_flag::ack;
  bool tcp_options = true;  ///< a time stamp
  std::uint16_t identification = 0xfffe;
  std::uint32_t sequence = 0xfffff000;
  Ipv4Address source4{0x0a000001};
  Ipv4Address destination4{0x0a000002};
  Ipv6Address source6{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
  Ipv6Address destination6{{0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}};
  MacAddress destination_mac{{2, 0, 0, 0, 0, 2}};
  MacAddress source_mac{{2, 0, 0, 0, 0, 1}};
  std::uint16_t source_port = 40000;

  bool is_tcp() const { return protocol == ip_protocol::tcp; }
  SegmentKind segment_kind() const {
    if (!is_tcp()) return SegmentKind::udp;
    return v6 ? SegmentKind::tcp6 : SegmentKind::tcp4;
  }
  /// The offset of the IP header, in bytes.
  std::size_t ip_offset() const { return kind == DeviceKind::tun ? 0 : EthernetHeader::size + 4 * tags; }
  /// The offset of the transport header, in bytes.
  std::size_t transport_offset() const {
    if (!v6) return ip_offset() + Ipv4Header::size + (extras ? 8 : 0);
    return ip_offset() + Ipv6Header::size + (extras ? 8 + 24 + 8 + more_options : 0);
  }
  /// The bytes of all headers together.
  std::size_t header_length() const {
    if (!is_tcp()) return transport_offset() + UdpHeader::size;
    return transport_offset() + TcpHeader::size + (tcp_options ? 12 : 0);
  }
  /// The offset of the checksum in the transport header, in bytes.
  std::size_t checksum_offset() const { return is_tcp() ? TcpHeader::checksum_offset : 6; }
  IpAddress source() const { return v6 ? IpAddress{source6} : IpAddress{source4}; }
  /// The final destination: the checksum covers this address.
  IpAddress destination() const {
    if (segments_left != 0) return Ipv6Address{{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4}};
    return v6 ? IpAddress{destination6} : IpAddress{destination4};
  }
  std::string name() const {
    std::string text = is_tcp() ? "tcp" : "udp";
    text += v6 ? "6" : "4";
    if (extras) text += " extras";
    if (segments_left != 0) text += " en route";
    if (more_options != 0) text += " options +" + std::to_string(more_options);
    if (kind == DeviceKind::tap) text += " tap, tags " + std::to_string(tags);
    return text + " flags " + std::to_string(flags);
  }
};

/// Pseudo-random bytes, the same for each `state`.
inline Buffer some_bytes(std::size_t size, std::uint32_t state = 1) {
  Buffer bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

/// A whole datagram, with its checksum complete.
inline Buffer datagram(const Shape& shape, Bytes payload) {
  const std::size_t ip = shape.ip_offset();
  const std::size_t transport = shape.transport_offset();
  Buffer packet(shape.header_length() + payload.size());
  const MutableBytes out{packet};
  std::copy(payload.begin(), payload.end(), out.begin() + static_cast<std::ptrdiff_t>(shape.header_length()));
  if (shape.kind == DeviceKind::tap) {
    EthernetHeader{shape.destination_mac, shape.source_mac, 0}.emit(out);
    for (std::size_t tag = 0; tag < shape.tags; ++tag)
      VlanTag{.tpid = tag + 1 < shape.tags ? ethertype::service_vlan : ethertype::vlan,
              .priority = 3,
              .vid = static_cast<std::uint16_t>(7 + tag)}
          .emit(out.subspan(12 + 4 * tag));
    store_be16(out, ip - 2, shape.v6 ? ethertype::ipv6 : ethertype::ipv4);
  }
  if (shape.v6) {
    // Hop-by-hop, a routing header (of kind 253, for experiments), destination options; the options are PadN,
    // then Pad1.
    constexpr std::uint8_t chain[] = {43, 0, 1, 4, 0, 0, 0, 0, 60, 2, 253, 0, 5, 5, 5, 5, 1, 1, 1, 1,
                                      2,  2, 2, 2, 3, 3, 3, 3, 4,  4, 4,   4, 0, 0, 1, 4, 0, 0, 0, 0};
    Ipv6Header{.traffic_class = 0xb8,
               .flow_label = 0x54321,
               .next_header = shape.extras ? ip_protocol::hop_by_hop : shape.protocol,
               .source = shape.source6,
               .destination = shape.destination6,
               .payload_length = static_cast<std::uint16_t>(packet.size() - ip - Ipv6Header::size)}
        .emit(out.subspan(ip));
    if (shape.extras) {
      const Bytes extensions = std::as_bytes(std::span{chain});
      std::copy(extensions.begin(), extensions.end(),
                out.begin() + static_cast<std::ptrdiff_t>(ip + Ipv6Header::size));
      store_u8(out, ip + Ipv6Header::size + 8 + 3, shape.segments_left);
      store_u8(out, transport - 8 - shape.more_options, shape.protocol);
      store_u8(out, transport - 7 - shape.more_options, static_cast<std::uint8_t>(shape.more_options / 8));
    }
  } else {
    // No operation, and a router alert.
    constexpr std::uint8_t options[] = {1, 1, 148, 4, 0, 0, 1, 0};
    Ipv4Header{.tos = 0xb8,
               .identification = shape.identification,
               .dont_fragment = true,
               .protocol = shape.protocol,
               .source = shape.source4,
               .destination = shape.destination4,
               .options = shape.extras ? std::as_bytes(std::span{options}) : Bytes{},
               .payload_length = static_cast<std::uint16_t>(packet.size() - transport)}
        .emit(out.subspan(ip));
  }
  if (shape.is_tcp()) {
    constexpr std::uint8_t time_stamp[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    TcpHeader{.source_port = shape.source_port,
              .destination_port = 80,
              .sequence = shape.sequence,
              .acknowledgment = 0x01020304,
              .flags = shape.flags,
              .window = 512,
              .urgent_pointer = static_cast<std::uint16_t>((shape.flags & tcp_flag::urg) != 0 ? 5 : 0),
              .options = shape.tcp_options ? std::as_bytes(std::span{time_stamp}) : Bytes{}}
        .emit(out.subspan(transport), payload, shape.source(), shape.destination());
  } else {
    UdpHeader{shape.source_port, 53}.emit(out.subspan(transport), payload, shape.source(),
                                          shape.destination());
  }
  return packet;
}

/// Puts the sum of the pseudo-header into the checksum field, as in a packet with the checksum left to fill.
inline void put_pseudo_header_sum(MutableBytes packet, const Shape& shape) {
  Checksum sum;
  sum.add_pseudo_header(shape.source(), shape.destination(), shape.protocol,
                        static_cast<std::uint32_t>(packet.size() - shape.transport_offset()));
  store_be16(packet, shape.transport_offset() + shape.checksum_offset(), sum.fold());
}

/// The work left to do on a super-packet of `shape`, with the checksum left to fill.
inline PacketOffload offload_of(const Shape& shape, std::size_t segment_size) {
  return {.kind = shape.segment_kind(),
          .checksum = ChecksumState::to_fill,
          .ecn = shape.is_tcp() && (shape.flags & tcp_flag::cwr) != 0,
          .segment_size = static_cast<std::uint16_t>(segment_size),
          .header_length = static_cast<std::uint16_t>(shape.header_length()),
          .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
          .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
}

/// A super-packet as from the kernel: the checksum field holds the sum of the pseudo-header.
inline Buffer super_packet(const Shape& shape, Bytes payload) {
  Buffer packet = datagram(shape, payload);
  put_pseudo_header_sum(packet, shape);
  return packet;
}

/// The segments of a super-packet, each built by itself. `wanted`: checksums left to fill, or complete.
inline std::vector<Buffer> segments(Shape shape, Bytes payload, std::size_t segment_size,
                                    ChecksumState wanted = ChecksumState::verified) {
  const Shape whole = shape;
  std::vector<Buffer> result;
  for (std::size_t at = 0; at < payload.size(); at += segment_size) {
    const Bytes part = payload.subspan(at, std::min(segment_size, payload.size() - at));
    shape.sequence = whole.sequence + static_cast<std::uint32_t>(at);
    shape.identification = static_cast<std::uint16_t>(whole.identification + at / segment_size);
    shape.flags = whole.flags;
    if (at != 0) shape.flags &= static_cast<std::uint8_t>(~tcp_flag::cwr);
    if (at + part.size() != payload.size())
      shape.flags &= static_cast<std::uint8_t>(~(tcp_flag::fin | tcp_flag::psh));
    result.push_back(datagram(shape, part));
    if (wanted == ChecksumState::to_fill) put_pseudo_header_sum(result.back(), shape);
  }
  return result;
}

/// Each combination of protocol, IP version, extras, and link.
inline std::vector<Shape> all() {
  std::vector<Shape> result;
  for (const std::uint8_t protocol : {ip_protocol::tcp, ip_protocol::udp})
    for (const bool v6 : {false, true})
      for (const bool extras : {false, true}) {
        result.push_back({.protocol = protocol, .v6 = v6, .extras = extras});
        for (const std::size_t tags : {0U, 1U, 2U})
          result.push_back(
              {.protocol = protocol, .v6 = v6, .extras = extras, .kind = DeviceKind::tap, .tags = tags});
      }
  return result;
}

/// IPv6 with headers as they are seldom seen: en route, and as long as they may be.
inline std::vector<Shape> long_headers() {
  std::vector<Shape> result;
  for (const std::uint8_t protocol : {ip_protocol::tcp, ip_protocol::udp})
    for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap})
      for (const std::uint8_t left : {std::uint8_t{0}, std::uint8_t{1}})
        for (const std::size_t more : {std::size_t{0}, std::size_t{264}, std::size_t{2040}})
          if (left != 0 || more != 0)
            result.push_back({.protocol = protocol,
                              .v6 = true,
                              .extras = true,
                              .segments_left = left,
                              .more_options = more,
                              .kind = kind});
  return result;
}

}  // namespace tunport::shapes
