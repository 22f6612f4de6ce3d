#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

struct Part {
  std::size_t offset, size;
};

/// Source and destination address.
Part addresses_of(const Layout& layout) {
  if (layout.v6) return {layout.ip + std::size_t{8}, 32};
  return {layout.ip + std::size_t{12}, 8};
}

}  // namespace

std::uint16_t checksum_offset_of(const Layout& layout) {
  return layout.protocol == ip_protocol::udp ? UdpHeader::checksum_offset : TcpHeader::checksum_offset;
}

std::uint32_t pseudo_header_sum(Bytes packet, const Layout& layout, std::uint32_t length) {
  const Part addresses = addresses_of(layout);
  return std::uint32_t{Checksum{}.add(packet.subspan(addresses.offset, addresses.size)).fold()} +
         layout.protocol + length;
}

void complete_checksum(MutableBytes packet, const PacketOffload& offload) {
  std::uint16_t checksum = internet_checksum(packet.subspan(offload.checksum_start));
  if (checksum == 0 && offload.checksum_offset == UdpHeader::checksum_offset) checksum = 0xffff;
  store_be16(packet, std::size_t{offload.checksum_start} + offload.checksum_offset, checksum);
}

void prepare_checksum(MutableBytes packet, const Layout& layout, PacketOffload& offload) {
  offload.checksum = ChecksumState::to_fill;
  offload.checksum_start = static_cast<std::uint16_t>(layout.transport);
  offload.checksum_offset = checksum_offset_of(layout);
  store_be16(packet, layout.transport + std::size_t{offload.checksum_offset},
             detail::fold16(pseudo_header_sum(packet, layout, layout.transport_size())));
}

bool verify_checksum(Bytes packet, const Layout& layout) {
  if (layout.protocol == ip_protocol::udp &&
      load_be16(packet, layout.transport + UdpHeader::checksum_offset) == 0)
    return false;
  // The addresses mostly lie right before the transport header: a single sum is enough then.
  const Part addresses = addresses_of(layout);
  const bool adjacent = addresses.offset + addresses.size == layout.transport;
  const std::size_t from = adjacent ? addresses.offset : layout.transport;
  std::uint32_t sum = Checksum{}.add(packet.subspan(from, layout.end - from)).fold();
  if (!adjacent) sum += Checksum{}.add(packet.subspan(addresses.offset, addresses.size)).fold();
  return detail::fold16(sum + layout.protocol + layout.transport_size()) == 0xffff;
}

}  // namespace tunport
