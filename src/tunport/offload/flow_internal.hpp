#pragma once
/// Finds the flow of a datagram, for the coalescer. Only the plain form of headers is parsed, the form of
/// almost all traffic. Datagrams in another form are classified by the order that they must keep.

#include <bit>
#include <cstring>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/wire/ethernet.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport::coalescing {

/// The part of a datagram in its flow.
enum class Standing : std::uint8_t {
  foreign,   ///< outside of all flows: no order to keep
  opaque,    ///< of an unknown flow between two addresses
  alone,     ///< of a known flow, never joined
  joinable,  ///< of a known flow, with a payload that may join
};

/// A datagram's flow, and the offsets of its headers. The offsets are valid for `alone` and `joinable`;
/// `network` and `v6` also for `opaque`.
struct Flow {
  Standing standing = Standing::foreign;
  bool v6 = false;
  bool udp = false;  ///< else TCP
  std::uint8_t network = 0;
  std::uint8_t transport = 0;
  std::uint8_t header_length = 0;  ///< bytes before the payload: at most 22 + 40 + 60
};

/// The number at `at`, in the byte order of the machine.
template <typename Number>
inline Number load(const std::byte* at) {
  Number number;
  std::memcpy(&number, at, sizeof number);
  return number;
}

/// Converts a 16-bit number between the byte orders of the machine and of a packet.
constexpr std::uint16_t wire_order(std::size_t number) {
  const auto word = static_cast<std::uint16_t>(number);
  return std::endian::native == std::endian::big ? word : static_cast<std::uint16_t>(word << 8 | word >> 8);
}

/// Completes `flow` by the transport header. `size`: bytes of the header and its payload.
inline Flow classify_transport(const std::byte* header, std::size_t size, Flow flow) {
  std::size_t length = UdpHeader::size;
  bool joins = false;
  if (flow.udp) {
    if (size < length || load<std::uint16_t>(header + 4) != wire_order(size)) return flow;
    joins = load<std::uint16_t>(header + 6) != 0;
  } else {
    constexpr std::uint8_t solitary = tcp_flag::fin | tcp_flag::syn | tcp_flag::rst | tcp_flag::urg;
    if (size < TcpHeader::size) return flow;
    length = load<std::uint8_t>(header + 12) / 16U * 4U;
    if (length < TcpHeader::size || length > size) return flow;
    joins = (load<std::uint8_t>(header + TcpHeader::flags_offset) & solitary) == 0;
  }
  flow.header_length = static_cast<std::uint8_t>(flow.transport + length);
  flow.standing = joins && size > length ? Standing::joinable : Standing::alone;
  return flow;
}

/// Completes `flow` by an IPv4 packet of `size` bytes. The header's checksum is not verified.
inline Flow classify_ipv4(const std::byte* packet, std::size_t size, Flow flow) {
  if (size < Ipv4Header::size) return flow;
  const auto protocol = load<std::uint8_t>(packet + 9);
  const bool fragment = (load<std::uint16_t>(packet + 6) & wire_order(0x3fff)) != 0;
  flow.udp = protocol == ip_protocol::udp;
  if (!fragment && !flow.udp && protocol != ip_protocol::tcp) return flow;
  flow.standing = Standing::opaque;
  if (fragment || load<std::uint8_t>(packet) != 0x45 || load<std::uint16_t>(packet + 2) != wire_order(size))
    return flow;
  flow.transport = static_cast<std::uint8_t>(flow.network + Ipv4Header::size);
  return classify_transport(packet + Ipv4Header::size, size - Ipv4Header::size, flow);
}

/// Completes `flow` by an IPv6 packet of `size` bytes. Extension headers, fragments included, make the packet
/// `opaque`.
inline Flow classify_ipv6(const std::byte* packet, std::size_t size, Flow flow) {
  constexpr std::uint8_t icmpv6 = 58;
  if (size < Ipv6Header::size) return flow;
  const auto next = load<std::uint8_t>(packet + 6);
  if (next == icmpv6) return flow;
  flow.v6 = true;
  flow.udp = next == ip_protocol::udp;
  flow.standing = Standing::opaque;
  size -= Ipv6Header::size;
  if (!(flow.udp || next == ip_protocol::tcp) || load<std::uint16_t>(packet + 4) != wire_order(size))
    return flow;
  flow.transport = static_cast<std::uint8_t>(flow.network + Ipv6Header::size);
  return classify_transport(packet + Ipv6Header::size, size, flow);
}

/// The flow of a datagram (a frame on TAP). Safe for arbitrary bytes.
inline Flow classify(Bytes datagram, DeviceKind kind) {
  Flow flow;
  const bool tun = kind == DeviceKind::tun;  // the packet itself tells the version of IP
  std::size_t at = 0;
  std::uint16_t type = 0;
  if (!tun) {
    at = EthernetHeader::size;
    if (datagram.size() < at) return flow;
    type = load_be16(datagram, at - 2);
    for (int tags = 0; tags < 2 && (type == ethertype::vlan || type == ethertype::service_vlan); ++tags) {
      at += VlanTag::size;
      if (datagram.size() < at) return flow;
      type = load_be16(datagram, at - 2);
    }
    flow.network = static_cast<std::uint8_t>(at);
  }
  if (datagram.size() <= at) return flow;
  const std::byte* const packet = datagram.data() + at;
  const std::size_t size = datagram.size() - at;
  const unsigned version = load<std::uint8_t>(packet) / 16U;
  if (version == 4 && (tun || type == ethertype::ipv4)) return classify_ipv4(packet, size, flow);
  if (version == 6 && (tun || type == ethertype::ipv6)) return classify_ipv6(packet, size, flow);
  return flow;
}

// The two addresses of an IP header are adjacent. Without options the ports follow the addresses.

/// True if two IP headers of the same version have the same addresses.
inline bool same_addresses(const std::byte* one, const std::byte* other, bool v6) {
  return v6 ? std::memcmp(one + 8, other + 8, 32) == 0
            : load<std::uint64_t>(one + 12) == load<std::uint64_t>(other + 12);
}

/// True if two plain IP headers of the same version and protocol have the same addresses and ports.
inline bool same_endpoints(const std::byte* one, const std::byte* other, bool v6) {
  const std::size_t ports = v6 ? Ipv6Header::size : Ipv4Header::size;
  return same_addresses(one, other, v6) &&
         load<std::uint32_t>(one + ports) == load<std::uint32_t>(other + ports);
}

/// A hash of the addresses and ports of a plain IP header; the upper bits are the best.
inline std::uint64_t hash_endpoints(const std::byte* header, bool v6) {
  constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
  if (!v6) return (load<std::uint64_t>(header + 12) * odd + load<std::uint32_t>(header + 20)) * odd;
  std::uint64_t hash = load<std::uint32_t>(header + 40);
  for (std::size_t at = 8; at < 40; at += 8) {
    hash = (hash + load<std::uint64_t>(header + at)) * odd;
    hash ^= hash >> 32;
  }
  return hash * odd;
}

}  // namespace tunport::coalescing
