#include "tunport/protocol/arrival.hpp"

#include <algorithm>
#include <array>

namespace tunport {
namespace {

WriteResult refuse(FrameTransport& transport, DropReason reason) {
  transport.drop(reason);
  return WriteResult::make_refused(reason);
}

}  // namespace

WriteResult Arrival::reply(std::span<const Bytes> parts) const {
  if (ethernet == nullptr) return transport.write_sequence(parts);
  if (ethernet->source().is_multicast()) return refuse(transport, DropReason::answer_not_allowed);
  if (local_mac == MacAddress{}) return refuse(transport, DropReason::no_route);

  constexpr std::size_t addresses = 2 * MacAddress::size;
  std::array<std::byte, addresses> reversed;
  ethernet->source().store(reversed, 0);
  local_mac.store(reversed, MacAddress::size);
  std::array<Bytes, max_write_parts> all;
  if (parts.size() > max_parts) return refuse(transport, DropReason::too_long);
  all[0] = reversed;
  all[1] = ethernet->bytes().subspan(addresses, ethernet->header_length() - addresses);  // tags and EtherType
  std::ranges::copy(parts, all.begin() + 2);
  return transport.write_sequence(std::span{all}.first(parts.size() + 2));
}

}  // namespace tunport
