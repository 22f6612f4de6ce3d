#include "tunport/wire/tcp.hpp"

#include <algorithm>

#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport {
namespace {

Checksum pseudo_header(const IpAddress& source, const IpAddress& destination, std::size_t length) {
  return Checksum{}.add_pseudo_header(source, destination, ip_protocol::tcp,
                                      static_cast<std::uint32_t>(length));
}

}  // namespace

std::optional<TcpView> TcpView::trusted(Bytes bytes, DropReason& why) {
  why = DropReason::tcp_short;
  if (bytes.size() < TcpHeader::size) return std::nullopt;
  const TcpView view{bytes};
  const std::size_t header_length = view.header_length();
  if (header_length < TcpHeader::size || header_length > bytes.size()) return std::nullopt;
  return view;
}

std::optional<TcpView> TcpView::checked(Bytes bytes, const IpAddress& source, const IpAddress& destination,
                                        DropReason& why) {
  const auto view = trusted(bytes, why);
  if (!view || pseudo_header(source, destination, bytes.size()).add(bytes).finish() == 0) return view;
  why = DropReason::tcp_bad_checksum;
  return std::nullopt;
}

void TcpHeader::emit(MutableBytes out, Bytes payload, const IpAddress& source,
                     const IpAddress& destination) const {
  store_be16(out, 0, source_port);
  store_be16(out, 2, destination_port);
  store_be32(out, sequence_offset, sequence);
  store_be32(out, 8, acknowledgment);
  store_u8(out, 12, static_cast<std::uint8_t>(header_length() / 4 << 4));
  store_u8(out, flags_offset, flags);
  store_be16(out, 14, window);
  store_be16(out, checksum_offset, 0);
  store_be16(out, 18, urgent_pointer);
  std::copy(options.begin(), options.end(), out.begin() + size);
  Checksum checksum = pseudo_header(source, destination, header_length() + payload.size());
  store_be16(out, checksum_offset, checksum.add(out.first(header_length())).add(payload).finish());
}

}  // namespace tunport
