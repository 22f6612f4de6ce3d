#include "tunport/offload/rewrite.hpp"

#include <array>
#include <cstring>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/rewrite_internal.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

constexpr std::size_t ipv4_checksum_at = 10;

/// The addresses as they stand in a header, source first.
struct Addresses {
  std::array<std::byte, 2 * Ipv6Address::size> bytes;
  std::size_t at = 0;
  std::size_t size = 0;

  Addresses(const Layout& layout, const FlowEnds& ends) {
    if (layout.v6) {
      at = layout.ip + std::size_t{8};
      size = 2 * Ipv6Address::size;
      ends.source.v6().store(bytes, 0);
      ends.destination.v6().store(bytes, Ipv6Address::size);
    } else {
      at = layout.ip + std::size_t{12};
      size = 2 * Ipv4Address::size;
      ends.source.v4().store(bytes, 0);
      ends.destination.v4().store(bytes, Ipv4Address::size);
    }
  }
};

void rewrite(MutableBytes packet, const PacketOffload* left, const Layout& layout, const FlowEnds& ends) {
  const Addresses addresses{layout, ends};
  std::array<std::byte, 4> ports;
  store_be16(ports, 0, ends.source_port);
  store_be16(ports, 2, ends.destination_port);

  const MutableBytes old_addresses = packet.subspan(addresses.at, addresses.size);
  const MutableBytes old_ports = packet.subspan(layout.transport, ports.size());
  const Bytes new_addresses{addresses.bytes.data(), addresses.size};
  ChecksumDelta delta;
  delta.change(old_addresses, new_addresses);
  if (!layout.v6) {
    const std::size_t at = layout.ip + ipv4_checksum_at;
    store_be16(packet, at, delta.apply(load_be16(packet, at)));
  }
  const std::size_t field = layout.transport + std::size_t{checksum_offset_of(layout)};
  if (field + 2 <= packet.size()) {  // a quoted packet may end before
    const std::uint16_t checksum = load_be16(packet, field);
    if (left != nullptr && left->checksum == ChecksumState::to_fill) {
      store_be16(packet, field, delta.apply_to_sum(checksum));  // the ports are summed later
    } else if (layout.protocol != ip_protocol::udp || checksum != 0) {
      delta.change(old_ports, ports);
      std::uint16_t changed = delta.apply(checksum);
      if (changed == 0 && layout.protocol == ip_protocol::udp) changed = 0xffff;
      store_be16(packet, field, changed);
    }
  }
  std::memcpy(old_addresses.data(), new_addresses.data(), new_addresses.size());
  std::memcpy(old_ports.data(), ports.data(), ports.size());
}

}  // namespace

void ChecksumDelta::change(Bytes from, Bytes to) {
  for (std::size_t i = 0; i + 2 <= from.size(); i += 2) {
    std::uint16_t was = 0;
    std::uint16_t is = 0;
    std::memcpy(&was, from.data() + i, 2);
    std::memcpy(&is, to.data() + i, 2);
    sum_ += static_cast<std::uint16_t>(~was);
    sum_ += is;
  }
}

std::uint16_t ChecksumDelta::apply(std::uint16_t field) const {
  return static_cast<std::uint16_t>(~apply_to_sum(static_cast<std::uint16_t>(~field)));
}

std::uint16_t ChecksumDelta::apply_to_sum(std::uint16_t field) const {
  return network_order(detail::fold16(sum_ + network_order(field)));
}

void rewrite_at(MutableBytes packet, const PacketOffload& left, const Layout& layout, const FlowEnds& ends) {
  rewrite(packet, &left, layout, ends);
}

void rewrite_quoted(MutableBytes quoted, const Layout& layout, const FlowEnds& ends) {
  rewrite(quoted, nullptr, layout, ends);
}

bool rewrite_ends(MutableBytes packet, const PacketOffload& left, DeviceKind kind, const FlowEnds& ends) {
  const auto layout = find_layout(packet, kind);
  if (!layout || layout->v6 != ends.source.is_v6() || layout->v6 != ends.destination.is_v6()) return false;
  rewrite(packet, &left, *layout, ends);
  return true;
}

}  // namespace tunport
