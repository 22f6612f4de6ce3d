#include <algorithm>

#include "tunport/offload/layout_internal.hpp"
#include "tunport/wire/ethernet.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

constexpr std::uint32_t narrow(std::size_t offset) { return static_cast<std::uint32_t>(offset); }

/// Fills the IPv6 part of `layout`. Out of line: IPv4 need not save the registers of the views.
[[gnu::noinline]] bool find_ipv6(Bytes ip, Layout& layout) {
  DropReason why{};
  const auto view = Ipv6View::checked(ip, why);
  if (!view) return false;
  const auto upper = layout.en_route ? view->upper_en_route() : view->upper();
  if (!upper) return false;
  layout.transport = narrow(layout.ip + upper->offset);
  layout.end = narrow(layout.ip + view->bytes().size());
  layout.v6 = true;
  layout.protocol = upper->protocol;
  return true;
}

/// Fills the IP part of `layout`. `Ipv4View` would sum the IPv4 header: the layout does not depend on the
/// checksum, and a patched header keeps an error in the checksum.
bool find_ip(Bytes packet, Layout& layout) {
  const Bytes ip = packet.subspan(layout.ip);
  if (ip.size() < Ipv4Header::size) return false;
  const std::uint8_t first = load_u8(ip, 0);
  if (first >> 4 != 4) return find_ipv6(ip, layout);
  constexpr std::uint16_t more_fragments_or_offset = 0x3fff;
  const std::size_t header_length = (first & 0xfU) * 4;
  const std::size_t total_length = load_be16(ip, 2);
  if (header_length < Ipv4Header::size || header_length > total_length || total_length > ip.size() ||
      (load_be16(ip, 6) & more_fragments_or_offset) != 0)
    return false;
  layout.transport = narrow(layout.ip + header_length);
  layout.end = narrow(layout.ip + total_length);
  layout.protocol = load_u8(ip, 9);
  return true;
}

/// Skips Ethernet and tags. False if no IP packet of either version can follow.
bool skip_ethernet(Bytes packet, Layout& layout, std::uint16_t& type) {
  std::size_t length = EthernetHeader::size;
  for (; length <= packet.size(); length += VlanTag::size) {
    type = load_be16(packet, length - 2);
    if (type == ethertype::vlan || type == ethertype::service_vlan) continue;
    layout.ip = narrow(length);
    return type == ethertype::ipv4 || type == ethertype::ipv6;
  }
  return false;
}

bool fill(Bytes packet, DeviceKind kind, Layout& layout) {
  std::uint16_t type = 0;
  if (kind == DeviceKind::tap && !skip_ethernet(packet, layout, type)) return false;
  if (!find_ip(packet, layout)) return false;
  if (kind == DeviceKind::tap && layout.v6 != (type == ethertype::ipv6)) return false;
  const std::uint32_t size = layout.transport_size();
  if (layout.protocol == ip_protocol::udp) {
    // Bytes between the ends of UDP datagram and IP packet have no owner (or are options of RFC 9868): such a
    // datagram is passed on unchanged.
    layout.payload = layout.transport + narrow(UdpHeader::size);
    return size >= UdpHeader::size && load_be16(packet, layout.transport + UdpHeader::length_offset) == size;
  }
  if (layout.protocol != ip_protocol::tcp || size < TcpHeader::size) return false;
  const std::uint32_t header_length = (load_u8(packet, layout.transport + 12) >> 4) * 4U;
  layout.payload = layout.transport + header_length;
  return header_length >= TcpHeader::size && header_length <= size;
}

}  // namespace

std::optional<Layout> find_layout(Bytes packet, DeviceKind kind) {
  // Filled in place: a copy of a layout stored piece by piece would wait for the stores.
  std::optional<Layout> layout{std::in_place};
  if (!fill(packet, kind, *layout)) layout.reset();
  return layout;
}

std::optional<Layout> find_layout_to_fill(Bytes packet, DeviceKind kind) {
  std::optional<Layout> layout = find_layout(packet, kind);
  if (layout) return layout;
  layout.emplace().en_route = true;
  if (!fill(packet, kind, *layout)) layout.reset();
  return layout;
}

std::size_t find_headers_end(Bytes packet, DeviceKind kind) {
  Layout layout;
  std::uint16_t type = 0;
  if (kind == DeviceKind::tap && !skip_ethernet(packet, layout, type))
    return std::max<std::size_t>(layout.ip, EthernetHeader::size);
  const Bytes ip = packet.subspan(layout.ip);
  if (ip.empty()) return layout.ip;
  const std::uint8_t first = load_u8(ip, 0);
  if (first >> 4 == 4) return layout.ip + (first & 0xfU) * std::size_t{4};
  if (first >> 4 != 6) return layout.ip;
  DropReason why{};
  const auto view = Ipv6View::checked(ip, why);
  const auto upper = view ? view->upper_en_route() : std::nullopt;
  return layout.ip + (upper ? upper->offset : Ipv6Header::size);
}

}  // namespace tunport
