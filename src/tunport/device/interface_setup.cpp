#include <algorithm>
#include <utility>

#include <linux/if_addr.h>

#include "tunport/base/error.hpp"
#include "tunport/device/interface_setup_internal.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

bool has(const std::vector<IpPrefix>& addresses, const IpPrefix& address) {
  return std::ranges::find(addresses, address) != addresses.end();
}

bool has(const std::vector<InterfaceAddress>& addresses, const IpPrefix& address) {
  return std::ranges::find(addresses, address, &InterfaceAddress::prefix) != addresses.end();
}

bool is_link_local(const IpAddress& address) {
  return address.is_v6() && address.v6().octets()[0] == 0xfe && (address.v6().octets()[1] & 0xc0) == 0x80;
}

/// True for a refusal: the change was not made. After other errors the change may have been made.
bool is_refusal(const std::error_code& ec) {
  return ec && !is_transient(ec) && ec != std::errc::protocol_error;
}

/// An address that an interface can have.
bool can_be_had(const IpPrefix& prefix) {
  if (prefix.length > prefix.address.bits()) return false;
  if (prefix.address.is_v6())
    return !prefix.address.v6().is_unspecified() && !prefix.address.v6().is_multicast();
  const Ipv4Address address = prefix.address.v4();
  if (!is_single_host(address)) return false;
  // RFC 3021: the smallest subnets have neither a network's nor a broadcast address.
  return prefix.length > 30 || (address != prefix.network_v4() && address != prefix.broadcast_v4());
}

/// A destination without host bits, and a gateway of its family (IPv4 goes by either).
bool can_be_routed(const Route& route) {
  const IpPrefix& to = route.destination;
  if (to.length > to.address.bits()) return false;
  if (route.gateway && to.address.is_v6() && route.gateway->is_v4()) return false;
  if (to.address.is_v4()) return to.length >= 32 || to.address == to.network_v4();
  const auto& octets = to.address.v6().octets();
  for (unsigned bit = to.length; bit < to.address.bits(); ++bit)
    if ((octets[bit / 8] & (0x80U >> bit % 8)) != 0) return false;
  return true;
}

std::string name_of(const IpPrefix& address) { return "address " + to_string(address); }
std::string name_of(const Route& route) { return "route " + to_string(route.destination); }

}  // namespace

std::error_code check(const InterfaceOptions& options, DeviceKind kind, std::string& part) {
  if (options.mtu) {
    part = "MTU " + std::to_string(*options.mtu);
    if (*options.mtu < least_mtu || *options.mtu > most_mtu(kind)) return Errc::mtu_out_of_range;
  }
  if (options.mac) {
    part = "MAC address " + to_string(*options.mac);
    if (kind == DeviceKind::tun) return Errc::no_mac_address;
    if (options.mac->is_multicast() || *options.mac == MacAddress{}) return Errc::invalid_mac_address;
  }
  for (const IpPrefix& address : options.addresses) {
    part = name_of(address);
    if (!can_be_had(address)) return Errc::invalid_address;
    if (address.address.is_v6() && options.mtu.value_or(least_ipv6_mtu) < least_ipv6_mtu)
      return Errc::mtu_too_small;
  }
  for (const Route& route : options.routes) {
    part = name_of(route);
    if (!can_be_routed(route)) return Errc::invalid_route;
  }
  part.clear();
  return {};
}

InterfaceSetup::InterfaceSetup(LinkSystem& links, const std::string& name, bool keep, std::error_code& ec)
    : name_{name}, keep_{false} {
  if (const auto info = links.find(name, ec)) before_ = *info;
  if (ec) return;
  link_ = links.only(before_.index, name);
  mtu_ = before_.mtu;
  addresses_before_ = link_->interface_addresses(name_, ec);
  if (!ec) keep_ = keep;
}

template <typename Change>
void InterfaceSetup::noted(bool& note, std::error_code& ec, Change change) {
  ec.clear();
  note = true;
  change();
  if (is_refusal(ec)) note = false;
}

void InterfaceSetup::apply(const InterfaceOptions& options, std::string& part, std::error_code& ec) {
  const auto step = [&](const std::string& what, auto&& change) {
    if (ec) return;
    part = what;
    change();
  };
  ec.clear();
  if (options.mtu) step("MTU " + std::to_string(*options.mtu), [&] { set_mtu(*options.mtu, ec); });
  if (options.mac) step("MAC address " + to_string(*options.mac), [&] { set_mac(*options.mac, ec); });
  if (options.tx_queue_length)
    step("queue length " + std::to_string(*options.tx_queue_length),
         [&] { set_tx_queue_length(*options.tx_queue_length, ec); });
  for (const IpPrefix& address : options.addresses) step(name_of(address), [&] { add_address(address, ec); });
  if (options.up) step("up", [&] { set_up(ec); });
  for (const Route& route : options.routes) step(name_of(route), [&] { add_route(route, ec); });
  if (!ec) part.clear();
}

const InterfaceAddress* InterfaceSetup::lost_by(unsigned mtu) const {
  if (mtu >= least_ipv6_mtu) return nullptr;
  const auto lost = std::ranges::find_if(addresses_before_, [](const InterfaceAddress& address) {
    return address.prefix.address.is_v6() && !is_link_local(address.prefix.address);
  });
  return lost == addresses_before_.end() ? nullptr : &*lost;
}

void InterfaceSetup::set_mtu(unsigned mtu, std::error_code& ec) {
  ec.clear();
  if (mtu == before_.mtu) return;
  // The kernel would take the address away for good.
  if (lost_by(mtu) != nullptr) {
    ec = Errc::mtu_too_small;
    return;
  }
  noted(mtu_set_, ec, [&] { link_->set_mtu(name_, mtu, ec); });
  if (!ec) mtu_ = mtu;
}

void InterfaceSetup::set_mac(const MacAddress& mac, std::error_code& ec) {
  ec.clear();
  if (mac != before_.mac) noted(mac_set_, ec, [&] { link_->set_mac(name_, mac, ec); });
}

void InterfaceSetup::set_tx_queue_length(unsigned packets, std::error_code& ec) {
  ec.clear();
  if (packets != before_.tx_queue_length)
    noted(tx_queue_length_set_, ec, [&] { link_->set_tx_queue_length(name_, packets, ec); });
}

void InterfaceSetup::add_address(const IpPrefix& address, std::error_code& ec) {
  ec.clear();
  asked_.push_back(address);
  if (has(addresses_before_, address) || has(added_, address)) return;
  InterfaceAddress with_all{.prefix = address};
  if (address.address.is_v6())
    with_all.flags = IFA_F_NODAD;  // the link's only other end is ours, and has no such address
  else if (address.length < 31)
    with_all.broadcast = address.broadcast_v4();
  added_.push_back(address);
  link_->add_interface_address(name_, with_all, ec);
  if (is_refusal(ec)) added_.pop_back();
}

void InterfaceSetup::set_up(std::error_code& ec) {
  ec.clear();
  if (!before_.up) noted(raised_, ec, [&] { link_->set_up(name_, true, ec); });
}

void InterfaceSetup::add_route(Route route, std::error_code& ec) {
  route.interface = before_.name;
  const auto there = link_->routes(name_, ec);
  if (ec || std::ranges::find(there, route) != there.end()) return;
  routes_added_.push_back(route);
  link_->add_route(route, ec);
  if (is_refusal(ec)) routes_added_.pop_back();
}

bool InterfaceSetup::addresses_are_usable() const {
  std::error_code ec;
  return std::ranges::none_of(link_->interface_addresses(name_, ec), [&](const InterfaceAddress& now) {
    return (now.flags & IFA_F_TENTATIVE) != 0 && (now.flags & IFA_F_DADFAILED) == 0 &&
           has(asked_, now.prefix);
  });
}

std::uint64_t InterfaceSetup::kernel_drops() const {
  std::error_code ec;
  const auto link = link_->find(name_, ec);
  return link && link->tx_dropped > before_.tx_dropped ? link->tx_dropped - before_.tx_dropped : 0;
}

bool InterfaceSetup::must_stay(const InterfaceAddress& address) const {
  if (address.prefix.address.is_v4()) return false;  // no change takes IPv4 addresses
  if (has(addresses_before_, address.prefix)) return true;
  const bool is_the_kernels = address.origin == IFAPROT_KERNEL_LL || address.origin == IFAPROT_KERNEL_RA ||
                              (address.flags & IFA_F_TEMPORARY) != 0 || is_link_local(address.prefix.address);
  return !is_the_kernels && !has(added_, address.prefix);
}

std::vector<InterfaceAddress> InterfaceSetup::addresses_to_keep(std::error_code& ec) const {
  auto addresses = link_->interface_addresses(name_, ec);
  // A failed list is not an empty list; and a short MTU has taken the former IPv6 addresses.
  if (ec || (mtu_set_ && mtu_ < least_ipv6_mtu)) addresses = addresses_before_;
  std::erase_if(addresses, [&](const InterfaceAddress& address) { return !must_stay(address); });
  std::ranges::reverse(addresses);  // the kernel lists the latest address first
  for (InterfaceAddress& address : addresses) address.valid_seconds = std::max(address.valid_seconds, 1U);
  return addresses;
}

std::error_code InterfaceSetup::put_back() noexcept try {
  std::error_code first;
  std::error_code ec;
  const auto keep_first = [&] {
    if (ec && ec != Errc::no_such_device && !first) first = ec;
  };
  if (!std::exchange(keep_, false)) return first;
  link_->find(name_, ec);
  keep_first();
  if (ec) return first;
  for (const Route& route : routes_added_) {
    link_->remove_route(route, ec);
    if (ec != std::errc::no_such_process) keep_first();  // removed by another program
  }
  for (const IpPrefix& address : added_) {
    link_->remove_address(name_, address, ec);
    if (ec != std::errc::address_not_available) keep_first();  // likewise
  }
  if (mac_set_) {
    link_->set_mac(name_, before_.mac, ec);
    keep_first();
  }
  if (tx_queue_length_set_) {
    link_->set_tx_queue_length(name_, before_.tx_queue_length, ec);
    keep_first();
  }
  if (!mtu_set_ && !raised_) return first;
  const auto to_keep = addresses_to_keep(ec);
  keep_first();
  if (mtu_set_) {
    link_->set_mtu(name_, before_.mtu, ec);
    keep_first();
  }
  if (raised_) {
    link_->set_up(name_, false, ec);
    keep_first();
  }
  for (const InterfaceAddress& address : to_keep) {
    link_->add_interface_address(name_, address, ec);
    if (ec != std::errc::file_exists) keep_first();
  }
  return first;
} catch (...) {
  return make_error_code(std::errc::not_enough_memory);
}

}  // namespace tunport
