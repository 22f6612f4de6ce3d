#include "tunport/wire/icmp.hpp"

#include "tunport/wire/checksum.hpp"

namespace tunport {

std::optional<IcmpView> IcmpView::checked(Bytes bytes, DropReason& why) {
  if (bytes.size() < IcmpHeader::size) {
    why = DropReason::icmp_short;
    return std::nullopt;
  }
  if (internet_checksum(bytes) != 0) {
    why = DropReason::icmp_bad_checksum;
    return std::nullopt;
  }
  return IcmpView{bytes};
}

bool IcmpView::is_error() const {
  switch (type()) {
    case icmp_type::destination_unreachable:
    case icmp_type::source_quench:
    case icmp_type::redirect:
    case icmp_type::time_exceeded:
    case icmp_type::parameter_problem:
      return true;
    default:
      return false;
  }
}

void IcmpHeader::emit(MutableBytes out, Bytes payload) const {
  store_u8(out, 0, type);
  store_u8(out, 1, code);
  store_be16(out, 2, 0);
  store_be32(out, 4, rest);
  store_be16(out, 2, Checksum{}.add(out.first(size)).add(payload).finish());
}

}  // namespace tunport
