#include "link_setup.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <linux/if_addr.h>
#include <net/if.h>

#include "tunport/base/error.hpp"
#include "tunport/wire/ipv6.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

bool has(const std::vector<IpPrefix>& addresses, const IpPrefix& address) {
  return std::ranges::find(addresses, address) != addresses.end();
}

bool is_link_local(const IpAddress& address) {
  return address.is_v6() && address.v6().octets()[0] == 0xfe && (address.v6().octets()[1] & 0xc0) == 0x80;
}

/// `how`: what does the same by hand.
void check(const std::error_code& ec, const std::string& subject, const std::string& how) {
  if (!ec) return;
  const std::string text =
      ec == Errc::not_permitted
          ? "setting this needs CAP_NET_ADMIN; run as root, use --sandbox, or have it prepared with '" + how +
                "'"
          : cause(ec) + "; the kernel refuses '" + how + "' too: choose another value";
  throw Failure{status::failed, subject + ": " + text};
}

}  // namespace

LinkSetup::LinkSetup(LinkSystem& links, std::string name, bool keep)
    : links_{links}, name_{std::move(name)}, keep_{keep} {
  std::error_code ec;
  if (const auto link = links_.find(name_, ec)) before_ = *link;
  mtu_ = before_.mtu;
  if (!ec) addresses_before_ = links_.addresses(name_, ec);
  if (ec) throw Error{ec, name_};
}

LinkSetup::~LinkSetup() { put_back(); }

void LinkSetup::set_mtu(unsigned mtu) {
  if (mtu == before_.mtu) return;
  // The kernel would take them away, and nobody gives them back.
  for (const IpPrefix& address : addresses_before_)
    if (mtu < least_ipv6_mtu && address.address.is_v6() && !is_link_local(address.address))
      throw Failure{status::failed, name_ + ": MTU " + std::to_string(mtu) + ": it would lose its address " +
                                        to_string(address) +
                                        ", as IPv6 needs an MTU of 1280 or more; raise mtu= in the port, or "
                                        "choose another device"};
  std::error_code ec;
  links_.set_mtu(name_, mtu, ec);
  check(ec, name_ + ": MTU " + std::to_string(mtu), "ip link set " + name_ + " mtu " + std::to_string(mtu));
  mtu_ = mtu;
  mtu_set_ = true;
}

void LinkSetup::add_address(const IpPrefix& address) {
  asked_.push_back(address);
  if (has(addresses_before_, address) || has(added_, address)) return;
  InterfaceAddress with_all{.prefix = address};
  if (address.address.is_v6())
    with_all.flags = IFA_F_NODAD;  // the link's only other end is ours, and has no such address
  else if (address.length < 31)
    with_all.broadcast = address.broadcast_v4();
  std::error_code ec;
  links_.add_interface_address(name_, with_all, ec);
  if (address.address.is_v6() && ec == std::errc::permission_denied)
    // A device that goes with us takes its switch along: the next one begins with the default.
    throw Failure{status::failed, name_ + ": address " + to_string(address) +
                                      ": IPv6 is switched off; switch it on with "
                                      "'sysctl -w net.ipv6.conf." +
                                      (keep_ ? name_ : "default") + ".disable_ipv6=0'"};
  if (address.address.is_v6() && mtu_ < least_ipv6_mtu && ec && ec != Errc::not_permitted)
    throw Failure{status::failed, name_ + ": address " + to_string(address) +
                                      ": IPv6 needs an MTU of 1280 or more, and this is " +
                                      std::to_string(mtu_) + "; add ',mtu=1280' to the port"};
  check(ec, name_ + ": address " + to_string(address), "ip addr add " + to_string(address) + " dev " + name_);
  added_.push_back(address);
}

void LinkSetup::set_up() {
  if (before_.up) return;
  std::error_code ec;
  links_.set_up(name_, true, ec);
  check(ec, name_ + ": up", "ip link set " + name_ + " up");
  raised_ = true;
}

bool LinkSetup::addresses_are_usable() const {
  std::error_code ec;
  return std::ranges::none_of(links_.interface_addresses(name_, ec), [&](const InterfaceAddress& now) {
    return (now.flags & IFA_F_TENTATIVE) != 0 && (now.flags & IFA_F_DADFAILED) == 0 &&
           has(asked_, now.prefix);
  });
}

std::uint64_t LinkSetup::kernel_drops() const {
  std::error_code ec;
  const auto link = find_now(ec);
  return link && link->tx_dropped > before_.tx_dropped ? link->tx_dropped - before_.tx_dropped : 0;
}

std::optional<LinkInfo> LinkSetup::find_now(std::error_code& ec) const {
  const auto find = [&](const std::string& name) {
    auto link = links_.find(name, ec);
    if (link && link->index != before_.index) {
      link.reset();
      ec = Errc::no_such_device;
    }
    return link;
  };
  auto link = find(name_);
  std::array<char, IF_NAMESIZE> renamed;
  if (!link && ::if_indextoname(static_cast<unsigned>(before_.index), renamed.data()) != nullptr)
    link = find(renamed.data());
  return link;
}

std::error_code LinkSetup::put_back() noexcept try {
  std::error_code first;
  const auto keep_first = [&](const std::error_code& ec) {
    if (ec && ec != Errc::no_such_device && !first) first = ec;
  };
  if (!std::exchange(keep_, false)) return first;
  std::error_code ec;
  const auto now = find_now(ec);
  keep_first(ec);
  if (!now) return first;
  const std::string& name = now->name;
  for (const IpPrefix& address : added_) {
    links_.remove_address(name, address, ec);
    if (ec != std::errc::address_not_available) keep_first(ec);  // somebody else was faster
  }
  if (mtu_set_) {
    links_.set_mtu(name, before_.mtu, ec);
    keep_first(ec);
  }
  if (raised_) {
    // Down takes IPv6 addresses with it, also those that were there before us.
    const auto addresses = links_.addresses(name, ec);
    links_.set_up(name, false, ec);
    keep_first(ec);
    for (const IpPrefix& address : addresses_before_) {
      if (address.address.is_v4() || is_link_local(address.address) || !has(addresses, address)) continue;
      links_.add_address(name, address, ec);
      if (ec != std::errc::file_exists) keep_first(ec);
    }
  }
  return first;
} catch (...) {
  return make_error_code(std::errc::not_enough_memory);
}

}  // namespace tunport::tool
