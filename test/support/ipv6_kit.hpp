#pragma once
/// Packets of IPv6 for tests, and fragments of both versions.

#include <algorithm>
#include <vector>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ip.hpp"
#include "tunport/wire/neighbor_discovery_internal.hpp"

namespace tunport::ipv6_kit {

using packets::Buffer;

inline const Ipv6Address kernel_ip6 = "fd00::1";
inline const Ipv6Address host_ip6 = "fd00::2";

inline Buffer joined(Bytes first, Bytes second) {
  Buffer all{first.begin(), first.end()};
  all.insert(all.end(), second.begin(), second.end());
  return all;
}

/// An IPv6 packet; the payload length is set from the payload.
inline Buffer ipv6(Ipv6Header header, Bytes payload) {
  Buffer bytes(Ipv6Header::size);
  header.payload_length = static_cast<std::uint16_t>(payload.size());
  header.emit(bytes);
  return joined(bytes, payload);
}

/// An ICMPv6 message, without IP.
inline Buffer icmpv6(const Icmpv6Header& header, Bytes payload, const Ipv6Address& source,
                     const Ipv6Address& destination) {
  Buffer bytes(Icmpv6Header::size);
  header.emit(bytes, payload, source, destination);
  return joined(bytes, payload);
}

/// An IPv6 packet with an ICMPv6 message.
inline Buffer icmpv6_packet(const Icmpv6Header& header, Bytes payload, const Ipv6Address& source = kernel_ip6,
                            const Ipv6Address& destination = host_ip6, std::uint8_t hop_limit = 64) {
  return ipv6({.next_header = ip_protocol::icmpv6,
               .hop_limit = hop_limit,
               .source = source,
               .destination = destination},
              icmpv6(header, payload, source, destination));
}

/// A frame with a neighbour solicitation.
inline Buffer solicitation(const Ipv6Address& target, const Ipv6Address& source = kernel_ip6) {
  using namespace neighbor_discovery;
  Body body;
  body.add(target);
  if (!source.is_unspecified()) body.add(source_link_layer_address, packets::kernel_mac);
  const Ipv6Address group = solicited_node(target);
  return packets::ethernet(
      {.destination = group_mac(group), .ethertype = ethertype::ipv6},
      icmpv6_packet({.type = icmpv6_type::neighbor_solicitation}, body.bytes(), source, group, hop_limit));
}

/// A frame with a neighbour advertisement of `target` by `mac`.
inline Buffer advertisement(const Ipv6Address& target, const MacAddress& mac, const Ipv6Address& to,
                            std::uint32_t flags) {
  using namespace neighbor_discovery;
  Body body;
  body.add(target).add(target_link_layer_address, mac);
  return packets::ethernet({.source = mac, .ethertype = ethertype::ipv6},
                           icmpv6_packet({.type = icmpv6_type::neighbor_advertisement, .rest = flags},
                                         body.bytes(), target, to, hop_limit));
}

/// A fragment of an IPv4 or IPv6 packet: `size` bytes of its payload from `offset` on.
inline Buffer fragment(const Buffer& packet, std::size_t offset, std::size_t size, bool more,
                       std::uint32_t identification = 77) {
  DropReason why{};
  const IpView ip = IpView::checked(packet, why).value();
  const Bytes part = ip.payload().subspan(offset, size);
  if (ip.is_v4()) {
    const Ipv4View v4 = Ipv4View::checked(packet, why).value();
    return packets::ipv4({.tos = v4.tos(),
                          .identification = static_cast<std::uint16_t>(identification),
                          .more_fragments = more,
                          .fragment_offset = static_cast<std::uint16_t>(offset),
                          .protocol = v4.protocol(),
                          .source = v4.source(),
                          .destination = v4.destination()},
                         part);
  }
  Buffer header(8);
  store_u8(header, 0, ip.protocol());
  store_be16(header, 2, static_cast<std::uint16_t>(offset | (more ? 1U : 0U)));
  store_be32(header, 4, identification);
  return ipv6({.next_header = ip_protocol::ipv6_fragment,
               .source = ip.source().v6(),
               .destination = ip.destination().v6()},
              joined(header, part));
}

/// The fragments of a packet, `step` bytes of payload each.
inline std::vector<Buffer> fragments(const Buffer& packet, std::size_t step,
                                     std::uint32_t identification = 77) {
  DropReason why{};
  const std::size_t size = IpView::checked(packet, why).value().payload().size();
  std::vector<Buffer> all;
  for (std::size_t at = 0; at < size; at += step)
    all.push_back(fragment(packet, at, std::min(step, size - at), at + step < size, identification));
  return all;
}

}  // namespace tunport::ipv6_kit
