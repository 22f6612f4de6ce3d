#include "tunport/wire/ethernet.hpp"

namespace tunport {
namespace {

constexpr std::size_t most_tags = 2;

}  // namespace

std::optional<EthernetView> EthernetView::checked(Bytes bytes, DropReason& why) {
  if (const std::size_t length = ethernet_header_length(bytes, most_tags); length != 0)
    return EthernetView{bytes, length};
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
