#include "tunport/wire/ipv4.hpp"

#include <algorithm>

#include "tunport/wire/checksum.hpp"

namespace tunport {

std::optional<Ipv4View> Ipv4View::checked(Bytes bytes, DropReason& why) {
  const auto drop = [&why](DropReason reason) {
    why = reason;
    return std::nullopt;
  };
  if (bytes.size() < Ipv4Header::size) return drop(DropReason::ip_short);
  const std::uint8_t first = load_u8(bytes, 0);
  if (first >> 4 != 4) return drop(DropReason::ip_bad_version);
  const std::size_t header_length = (first & 0xfU) * 4;
  if (header_length < Ipv4Header::size || header_length > bytes.size())
    return drop(DropReason::ip_bad_header_length);
  const std::size_t total_length = load_be16(bytes, 2);
  if (total_length < header_length || total_length > bytes.size())
    return drop(DropReason::ip_bad_total_length);
  if (internet_checksum(bytes.first(header_length)) != 0) return drop(DropReason::ip_bad_checksum);
  return Ipv4View{bytes.first(total_length)};
}

void Ipv4Header::emit(MutableBytes out) const {
  store_u8(out, 0, static_cast<std::uint8_t>(0x40U | header_length() / 4));
  store_u8(out, 1, tos);
  store_be16(out, 2, static_cast<std::uint16_t>(header_length() + payload_length));
  store_be16(out, 4, identification);
  store_be16(out, 6,
             static_cast<std::uint16_t>(dont_fragment << 14 | more_fragments << 13 | fragment_offset / 8));
  store_u8(out, 8, ttl);
  store_u8(out, 9, protocol);
  store_be16(out, 10, 0);
  source.store(out, 12);
  destination.store(out, 16);
  std::copy(options.begin(), options.end(), out.begin() + size);
  store_be16(out, 10, internet_checksum(out.first(header_length())));
}

}  // namespace tunport
