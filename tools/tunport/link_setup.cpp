#include "link_setup.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <linux/if_addr.h>
#include <net/if.h>

#include "tunport/base/error.hpp"
#include "tunport/wire/ipv6.hpp"

#include "failure.hpp"
#include "output.hpp"

namespace tunport::tool {
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

/// True if the kernel refused: what was asked for was not done. Otherwise it may have been.
bool is_refusal(const std::error_code& ec) {
  return ec && !is_transient(ec) && ec != std::errc::protocol_error;
}

/// True if the kernel refused the value, rather than ran short of something on the way.
bool blames_the_value(const std::error_code& ec) {
  return ec == std::errc::invalid_argument || ec == std::errc::address_not_available ||
         ec == std::errc::address_family_not_supported || ec == std::errc::result_out_of_range ||
         ec == std::errc::permission_denied || ec == std::errc::operation_not_supported;
}

/// `how`: the same by hand.
void check(const std::error_code& ec, const std::string& subject, const std::string& how) {
  if (!ec) return;
  std::string text = cause(ec) + "; ";
  if (ec == Errc::not_permitted)
    text = "setting this needs CAP_NET_ADMIN; run as root, use --sandbox, or have it prepared with '" + how +
           "'";
  else if (blames_the_value(ec))
    text += "the kernel refuses '" + how + "' too: choose another value";
  else if (const std::string_view what_to_do = remedy(ec); !what_to_do.empty())
    text += what_to_do;
  else
    text += "try '" + how + "', which may say more";
  throw Failure{status::failed, subject + ": " + text};
}

}  // namespace

LinkSetup::LinkSetup(LinkSystem& links, std::string name, bool keep)
    : links_{links}, name_{std::move(name)}, keep_{keep} {
  std::error_code ec;
  if (const auto link = links_.find(name_, ec)) before_ = *link;
  mtu_ = before_.mtu;
  if (!ec) addresses_before_ = links_.interface_addresses(name_, ec);
  if (ec) throw Error{ec, name_};
}

LinkSetup::~LinkSetup() { put_back_or_say_so(); }

void LinkSetup::set_mtu(unsigned mtu) {
  if (mtu == before_.mtu) return;
  // The kernel would take them away, and nobody gives them back.
  for (const InterfaceAddress& address : addresses_before_)
    if (mtu < least_ipv6_mtu && address.prefix.address.is_v6() && !is_link_local(address.prefix.address))
      throw Failure{status::failed, name_ + ": MTU " + std::to_string(mtu) + ": it would lose its address " +
                                        to_string(address.prefix) +
                                        ", as IPv6 needs an MTU of 1280 or more; raise mtu= in the port, or "
                                        "choose another device"};
  std::error_code ec;
  mtu_set_ = true;
  links_.set_mtu(name_, mtu, ec);
  if (is_refusal(ec)) mtu_set_ = false;
  check(ec, name_ + ": MTU " + std::to_string(mtu), "ip link set " + name_ + " mtu " + std::to_string(mtu));
  mtu_ = mtu;
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
  added_.push_back(address);
  links_.add_interface_address(name_, with_all, ec);
  if (is_refusal(ec)) added_.pop_back();
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
}

void LinkSetup::set_up() {
  if (before_.up) return;
  std::error_code ec;
  raised_ = true;
  links_.set_up(name_, true, ec);
  if (is_refusal(ec)) raised_ = false;
  check(ec, name_ + ": up", "ip link set " + name_ + " up");
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
  if (link || ec != Errc::no_such_device) return link;
  if (::if_indextoname(static_cast<unsigned>(before_.index), renamed.data()) != nullptr)
    link = find(renamed.data());
  else if (errno != ENXIO && errno != ENODEV)  // no descriptor left for the question, say
    ec = errno_code(errno);
  return link;
}

bool LinkSetup::must_stay(const InterfaceAddress& address) const {
  if (address.prefix.address.is_v4()) return false;  // nothing takes these
  if (has(addresses_before_, address.prefix)) return true;
  const bool is_the_kernels = address.origin == IFAPROT_KERNEL_LL || address.origin == IFAPROT_KERNEL_RA ||
                              (address.flags & IFA_F_TEMPORARY) != 0 || is_link_local(address.prefix.address);
  return !is_the_kernels && !has(added_, address.prefix);
}

std::vector<InterfaceAddress> LinkSetup::addresses_to_keep(const std::string& name,
                                                           std::error_code& ec) const {
  auto addresses = links_.interface_addresses(name, ec);
  // Not known is not none; and an MTU too short for IPv6 has taken what was there before.
  if (ec || (mtu_set_ && mtu_ < least_ipv6_mtu)) addresses = addresses_before_;
  std::erase_if(addresses, [&](const InterfaceAddress& address) { return !must_stay(address); });
  std::ranges::reverse(addresses);  // the latest is listed first, and is to be added last
  for (InterfaceAddress& address : addresses) address.valid_seconds = std::max(address.valid_seconds, 1U);
  return addresses;
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
  if (!mtu_set_ && !raised_) return first;
  const auto to_keep = addresses_to_keep(name, ec);
  keep_first(ec);
  if (mtu_set_) {
    links_.set_mtu(name, before_.mtu, ec);
    keep_first(ec);
  }
  if (raised_) {
    links_.set_up(name, false, ec);
    keep_first(ec);
  }
  for (const InterfaceAddress& address : to_keep) {
    links_.add_interface_address(name, address, ec);
    if (ec != std::errc::file_exists) keep_first(ec);
  }
  return first;
} catch (...) {
  return make_error_code(std::errc::not_enough_memory);
}

bool LinkSetup::put_back_or_say_so() noexcept try {
  const std::error_code left = put_back();
  if (left)
    print_error(name_ + ": could not be put back as it was: " + cause(left) + "; see 'ip addr show " + name_ +
                "'");
  return !left;
} catch (...) {  // no memory for the words
  print_error("an interface could not be put back as it was; see 'ip addr'");
  return false;
}

}  // namespace tunport::tool
