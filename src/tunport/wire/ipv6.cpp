#include "tunport/wire/ipv6.hpp"

namespace tunport {

std::optional<Ipv6View> Ipv6View::checked(Bytes bytes, DropReason& why) {
  const auto drop = [&why](DropReason reason) {
    why = reason;
    return std::nullopt;
  };
  if (bytes.size() < Ipv6Header::size) return drop(DropReason::ip_short);
  if (load_u8(bytes, 0) >> 4 != 6) return drop(DropReason::ip_bad_version);
  const std::size_t length = Ipv6Header::size + load_be16(bytes, 4);
  if (length > bytes.size()) return drop(DropReason::ip_bad_total_length);
  return Ipv6View{bytes.first(length)};
}

std::optional<Ipv6Upper> Ipv6View::find_upper(bool en_route) const {
  Ipv6Upper upper{next_header(), Ipv6Header::size};
  for (;;) {
    const bool routing = upper.protocol == ip_protocol::routing;
    // Hop-by-hop options stand behind the fixed header only (RFC 8200 4.1).
    const bool hop_by_hop =
        upper.protocol == ip_protocol::hop_by_hop && upper.offset == std::size_t{Ipv6Header::size};
    if (!routing && !hop_by_hop && upper.protocol != ip_protocol::destination_options) return upper;
    // The length counts units of 8 bytes behind the first 8.
    if (bytes_.size() - upper.offset < 8) return std::nullopt;
    const std::size_t length = (load_u8(bytes_, upper.offset + 1) + std::size_t{1}) * 8;
    if (bytes_.size() - upper.offset < length) return std::nullopt;
    if (routing && !en_route && load_u8(bytes_, upper.offset + 3) != 0) return std::nullopt;
    upper = {load_u8(bytes_, upper.offset), upper.offset + length};
  }
}

void Ipv6Header::emit(MutableBytes out) const {
  store_be32(out, 0, 6U << 28 | std::uint32_t{traffic_class} << 20 | (flow_label & 0xfffffU));
  store_be16(out, 4, payload_length);
  store_u8(out, 6, next_header);
  store_u8(out, 7, hop_limit);
  source.store(out, 8);
  destination.store(out, 24);
}

}  // namespace tunport
