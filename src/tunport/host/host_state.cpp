#include <algorithm>

#include "tunport/host/host_mac_internal.hpp"
#include "tunport/host/host_state_internal.hpp"
#include "tunport/wire/neighbor_discovery_internal.hpp"

namespace tunport {
namespace {

using neighbor_discovery::is_link_local;

/// True for the ends of a subnet: the network's and the broadcast address of IPv4, the routers' address of
/// IPv6.
bool is_end_of(const IpPrefix& subnet, const IpAddress& address) {
  if (subnet.address.is_v4() != address.is_v4()) return false;
  if (address.is_v4())
    return subnet.length < 31 &&
           (address.v4() == subnet.broadcast_v4() || address.v4() == subnet.network_v4());
  if (subnet.length >= 127 || !subnet.contains(address)) return false;
  const auto& octets = address.v6().octets();
  for (unsigned bit = subnet.length; bit < 128; ++bit)
    if ((octets[bit / 8] & (0x80U >> bit % 8)) != 0) return false;
  return true;
}

}  // namespace

HostState::HostState(HostOptions given)
    : options{std::move(given)}, errors{options.errors_per_second, options.errors_at_once} {
  settle_mac({});
}

bool HostState::has_v6() const {
  const auto is_v6 = [](const IpAddress& address) { return address.is_v6(); };
  return options.advertised || std::ranges::any_of(options.addresses, is_v6) ||
         std::ranges::any_of(options.prefixes, is_v6, &IpPrefix::address);
}

void HostState::settle_mac(const LinkInfo& interface) {
  IpAddress first;
  if (!options.addresses.empty())
    first = options.addresses.front();
  else if (!options.prefixes.empty())
    first = options.prefixes.front().address;
  mac = options.mac ? *options.mac : derive_mac(first, interface.name, interface.mac);
  listed.clear();
  if (has_v6()) listed.push_back({neighbor_discovery::link_local(mac)});
  for (const IpAddress& address : options.addresses)
    if (address.is_v6() && find_listed(address.v6()) == nullptr) listed.push_back({address.v6()});
}

HostState::Listed* HostState::find_listed(const Ipv6Address& address) {
  const auto found = std::ranges::find(listed, address, &Listed::address);
  return found == listed.end() ? nullptr : &*found;
}

bool HostState::is_listed(const IpAddress& address) const {
  if (address.is_v4()) return std::ranges::find(options.addresses, address) != options.addresses.end();
  return std::ranges::any_of(
      listed, [&](const Listed& own) { return own.use == Use::usable && own.address == address.v6(); });
}

bool HostState::is_settled() const {
  return std::ranges::none_of(
      listed, [](const Listed& own) { return own.use == Use::tentative || own.use == Use::probing; });
}

bool HostState::owns(const IpAddress& address) const {
  if (is_listed(address)) return true;
  if (std::ranges::none_of(options.prefixes, [&](const IpPrefix& prefix) {
        return prefix.contains(address) && !is_end_of(prefix, address);
      }))
    return false;
  const bool is_unusable =
      address.is_v6() && std::ranges::find(listed, address.v6(), &Listed::address) != listed.end();
  return !is_unusable && is_source(address) &&
         std::ranges::find(options.subnets, address, &IpPrefix::address) == options.subnets.end();
}

bool HostState::is_source(const IpAddress& address) const {
  if (address.is_unspecified() || address.is_multicast()) return false;
  if (address.is_v4()) {
    if (!is_single_host(address.v4())) return false;
  } else if (address.v6() == Ipv6Address{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}) {
    return false;
  }
  return address.is_v6() || std::ranges::none_of(options.subnets, [&](const IpPrefix& subnet) {
           return is_end_of(subnet, address);
         });
}

bool HostState::is_on_link(const IpAddress& address) const {
  if (address.is_v6() && is_link_local(address.v6())) return true;
  const auto is_same = [&](const IpPrefix& subnet) { return subnet.address.is_v4() == address.is_v4(); };
  return std::ranges::none_of(options.subnets, is_same) ||
         std::ranges::any_of(options.subnets,
                             [&](const IpPrefix& subnet) { return subnet.contains(address); });
}

std::vector<IpAddress> HostState::sources() const {
  std::vector<IpAddress> all;
  for (const IpAddress& address : options.addresses)
    if (is_listed(address)) all.push_back(address);
  if (!listed.empty() && listed.front().use == Use::usable) all.emplace_back(listed.front().address);
  return all;
}

}  // namespace tunport
