#include "tunport/wire/icmpv6.hpp"

#include "tunport/wire/checksum.hpp"

namespace tunport {
namespace {

Checksum pseudo_header(const Ipv6Address& source, const Ipv6Address& destination, std::size_t length) {
  return Checksum{}.add_pseudo_header(source, destination, ip_protocol::icmpv6,
                                      static_cast<std::uint32_t>(length));
}

}  // namespace

std::optional<Icmpv6View> Icmpv6View::checked(Bytes bytes, const Ipv6Address& source,
                                              const Ipv6Address& destination, DropReason& why) {
  if (bytes.size() < Icmpv6Header::size) {
    why = DropReason::icmp_short;
    return std::nullopt;
  }
  if (pseudo_header(source, destination, bytes.size()).add(bytes).finish() != 0) {
    why = DropReason::icmp_bad_checksum;
    return std::nullopt;
  }
  return Icmpv6View{bytes};
}

void Icmpv6Header::emit(MutableBytes out, Bytes payload, const Ipv6Address& source,
                        const Ipv6Address& destination) const {
  store_u8(out, 0, type);
  store_u8(out, 1, code);
  store_be16(out, 2, 0);
  store_be32(out, 4, rest);
  store_be16(
      out, 2,
      pseudo_header(source, destination, size + payload.size()).add(out.first(size)).add(payload).finish());
}

}  // namespace tunport
