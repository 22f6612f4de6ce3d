#include "tunport/wire/ethernet.hpp"

namespace tunport {
namespace {

constexpr std::size_t most_tags = 2;

constexpr bool is_tpid(std::uint16_t type) {
  return type == ethertype::vlan || type == ethertype::service_vlan;
}

}  // namespace

std::optional<EthernetView> EthernetView::checked(Bytes bytes, DropReason& why) {
  std::size_t length = EthernetHeader::size;
  for (std::size_t tags = 0; length <= bytes.size(); ++tags, length += VlanTag::size)
    if (tags == most_tags || !is_tpid(load_be16(bytes, length - 2))) return EthernetView{bytes, length};
  why = DropReason::ethernet_short;
  return std::nullopt;
}

VlanTag EthernetView::tag(std::size_t index) const {
  const std::size_t at = EthernetHeader::size - 2 + index * VlanTag::size;
  const std::uint16_t control = load_be16(bytes_, at + 2);
  return {.tpid = load_be16(bytes_, at),
          .priority = static_cast<std::uint8_t>(control >> 13),
          .drop_eligible = (control >> 12 & 1) != 0,
          .vid = static_cast<std::uint16_t>(control & 0xfff)};
}

}  // namespace tunport
