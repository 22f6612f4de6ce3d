#pragma once
/// A datagram's flow, found by the least that tells it: for the coalescer. Only the plain form of the headers
/// is known, in which almost everything comes; the rest is told apart by what order asks of it.

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

/// What may become of a datagram.
enum class Standing : std::uint8_t {
  foreign,   ///< no flow's: it follows nothing and nothing follows it
  opaque,    ///< between two addresses, which flow's was not looked for
  alone,     ///< a flow's, and joins nothing
  joinable,  ///< a flow's, with a payload that may join others
};

/// A datagram's flow, and where its headers are. The offsets hold for `alone` and `joinable`, `network` and
/// `v6` for `opaque` too.
struct Flow {
  Standing standing = Standing::foreign;
  bool v6 = false;
  bool udp = false;  ///< else TCP
  std::uint8_t network = 0;
  std::uint8_t transport = 0;
  std::uint8_t header_length = 0;  ///< what precedes the payload: at most 22 + 40 + 60
};

/// A number as it lies in memory.
template <typename Number>
inline Number load(const std::byte* at) {
  Number number;
  std::memcpy(&number, at, sizeof number);
  return number;
}

/// A 16-bit number as it lies in memory in a packet, and back.
constexpr std::uint16_t wire_order(std::size_t number) {
  const auto word = static_cast<std::uint16_t>(number);
  return std::endian::native == std::endian::big ? word : static_cast<std::uint16_t>(word << 8 | word >> 8);
}

/// The transport header at `flow.transport`, `size` bytes of it and its payload.
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

/// The IPv4 packet at `flow.network`, of `size` bytes. Its checksum is not looked at.
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

/// The IPv6 packet at `flow.network`, of `size` bytes. Extension headers, fragments among them, are not
/// followed.
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

/// Tells what a datagram is, a frame on TAP. Takes any bytes.
inline Flow classify(Bytes datagram, DeviceKind kind) {
  Flow flow;
  const bool tun = kind == DeviceKind::tun;  // the packet says itself which IP it is
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

// The addresses lie one behind the other, and the ports right behind them where there are no options.

/// Whether two IP headers of one family have the same addresses.
inline bool same_addresses(const std::byte* one, const std::byte* other, bool v6) {
  return v6 ? std::memcmp(one + 8, other + 8, 32) == 0
            : load<std::uint64_t>(one + 12) == load<std::uint64_t>(other + 12);
}

/// Whether two plain IP headers of one family and protocol have the same addresses and ports behind them.
inline bool same_endpoints(const std::byte* one, const std::byte* other, bool v6) {
  const std::size_t ports = v6 ? Ipv6Header::size : Ipv4Header::size;
  return same_addresses(one, other, v6) &&
         load<std::uint32_t>(one + ports) == load<std::uint32_t>(other + ports);
}

/// A number from the addresses and ports of a plain IP header; its upper bits are the better ones.
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
