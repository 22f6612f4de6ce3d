#include "tunport/wire/arp.hpp"

#include "tunport/wire/ethernet.hpp"

namespace tunport {
namespace {

constexpr std::uint16_t hardware_ethernet = 1;
/// Both lengths, read as a single number.
constexpr std::uint16_t address_lengths = MacAddress::size << 8 | Ipv4Address::size;

}  // namespace

std::optional<ArpView> ArpView::checked(Bytes bytes, DropReason& why) {
  if (bytes.size() < ArpHeader::size || load_be16(bytes, 0) != hardware_ethernet ||
      load_be16(bytes, 2) != ethertype::ipv4 || load_be16(bytes, 4) != address_lengths) {
    why = DropReason::arp_malformed;
    return std::nullopt;
  }
  return ArpView{bytes.first(ArpHeader::size)};
}

void ArpHeader::emit(MutableBytes out) const {
  store_be16(out, 0, hardware_ethernet);
  store_be16(out, 2, ethertype::ipv4);
  store_be16(out, 4, address_lengths);
  store_be16(out, 6, operation);
  sender_mac.store(out, 8);
  sender_ip.store(out, 14);
  target_mac.store(out, 18);
  target_ip.store(out, 24);
}

}  // namespace tunport
