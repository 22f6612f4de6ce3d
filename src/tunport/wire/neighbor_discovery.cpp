#include "tunport/wire/neighbor_discovery_internal.hpp"

namespace tunport::neighbor_discovery {

std::optional<IpAddress> first_source(std::span<const IpAddress> sources, const IpAddress& host) {
  const auto is_local = [](const IpAddress& address) {
    return address.is_v6() && is_link_local(address.v6());
  };
  std::optional<IpAddress> first;
  for (const IpAddress& address : sources) {
    if (address.is_v4() != host.is_v4()) continue;
    if (is_local(address) == is_local(host)) return address;
    if (!first) first = address;
  }
  return first;
}

std::optional<Message> Message::checked(const Icmpv6View& icmp, const IpView& ip) {
  const std::uint8_t type = icmp.type();
  const bool solicits = type == icmpv6_type::neighbor_solicitation;
  const bool advertises = type == icmpv6_type::neighbor_advertisement;
  if ((!solicits && !advertises && type != icmpv6_type::router_solicitation) || ip.hop_limit() != hop_limit ||
      icmp.code() != 0)
    return std::nullopt;
  Message message{.type = type, .rest = icmp.rest()};
  Bytes options = icmp.payload();
  if (type != icmpv6_type::router_solicitation) {
    if (options.size() < Ipv6Address::size) return std::nullopt;
    message.target = Ipv6Address::load(options, 0);
    if (message.target.is_multicast()) return std::nullopt;
    options = options.subspan(Ipv6Address::size);
  }
  while (!options.empty()) {
    if (options.size() < 8) return std::nullopt;
    const std::size_t size = load_u8(options, 1) * std::size_t{8};
    if (size == 0 || size > options.size()) return std::nullopt;
    const std::uint8_t kind = load_u8(options, 0);
    if (kind == source_link_layer_address && size == 8) message.source_mac = MacAddress::load(options, 2);
    if (kind == target_link_layer_address && size == 8) message.target_mac = MacAddress::load(options, 2);
    options = options.subspan(size);
  }
  const Ipv6Address source = ip.source().v6();
  const Ipv6Address destination = ip.destination().v6();
  if (source.is_unspecified()) {
    // A probe, or a router solicitation before an address: without a link-layer address, and to the right
    // group.
    if (message.source_mac) return std::nullopt;
    if (solicits && destination != solicited_node(message.target)) return std::nullopt;
    if (advertises) return std::nullopt;
  }
  if (advertises && destination.is_multicast() && (message.rest & solicited_flag) != 0) return std::nullopt;
  return message;
}

Body& Body::add(const Ipv6Address& address) {
  address.store(bytes_, size_);
  size_ += Ipv6Address::size;
  return *this;
}

Body& Body::add(std::uint8_t option, const MacAddress& mac) {
  store_u8(bytes_, size_, option);
  store_u8(bytes_, size_ + 1, 1);
  mac.store(bytes_, size_ + 2);
  size_ += 8;
  return *this;
}

Body& Body::add_router_times() {
  size_ += 8;  // reachable time and retransmission timer: unspecified
  return *this;
}

Body& Body::add_prefix(const IpPrefix& prefix, std::uint32_t valid, std::uint32_t preferred) {
  store_u8(bytes_, size_, 3);
  store_u8(bytes_, size_ + 1, 4);
  store_u8(bytes_, size_ + 2, static_cast<std::uint8_t>(prefix.length));
  store_u8(bytes_, size_ + 3, 0xc0);  // on-link, autonomous
  store_be32(bytes_, size_ + 4, valid);
  store_be32(bytes_, size_ + 8, preferred);
  store_be32(bytes_, size_ + 12, 0);
  prefix.address.v6().store(bytes_, size_ + 16);
  size_ += 32;
  return *this;
}

Body& Body::add_mtu(std::uint32_t mtu) {
  store_u8(bytes_, size_, 5);
  store_u8(bytes_, size_ + 1, 1);
  store_be16(bytes_, size_ + 2, 0);
  store_be32(bytes_, size_ + 4, mtu);
  size_ += 8;
  return *this;
}

}  // namespace tunport::neighbor_discovery
