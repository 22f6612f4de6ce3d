#include "tunport/wire/udp.hpp"

#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport {
namespace {

Checksum pseudo_header(const IpAddress& source, const IpAddress& destination, std::size_t length) {
  return Checksum{}.add_pseudo_header(source, destination, ip_protocol::udp,
                                      static_cast<std::uint32_t>(length));
}

}  // namespace

std::optional<UdpView> UdpView::trusted(Bytes bytes, DropReason& why) {
  const auto drop = [&why](DropReason reason) {
    why = reason;
    return std::nullopt;
  };
  if (bytes.size() < UdpHeader::size) return drop(DropReason::udp_short);
  const std::size_t length = load_be16(bytes, 4);
  if (length < UdpHeader::size || length > bytes.size()) return drop(DropReason::udp_bad_length);
  return UdpView{bytes.first(length)};
}

std::optional<UdpView> UdpView::checked(Bytes bytes, const IpAddress& source, const IpAddress& destination,
                                        DropReason& why) {
  const auto view = trusted(bytes, why);
  if (!view) return view;
  const bool right = view->has_checksum()
                         ? pseudo_header(source, destination, view->length()).add(view->bytes()).finish() == 0
                         : source.is_v4();
  if (right) return view;
  why = DropReason::udp_bad_checksum;
  return std::nullopt;
}

void UdpHeader::emit(MutableBytes out, Bytes payload, const IpAddress& source,
                     const IpAddress& destination) const {
  const std::size_t length = size + payload.size();
  store_be16(out, 0, source_port);
  store_be16(out, 2, destination_port);
  store_be16(out, 4, static_cast<std::uint16_t>(length));
  store_be16(out, 6, 0);
  const std::uint16_t checksum =
      pseudo_header(source, destination, length).add(out.first(size)).add(payload).finish();
  store_be16(out, 6, checksum == 0 ? 0xffff : checksum);
}

}  // namespace tunport
