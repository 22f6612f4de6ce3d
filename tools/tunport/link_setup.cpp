#include "link_setup.hpp"

#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/wire/ipv6.hpp"

#include "failure.hpp"
#include "output.hpp"

namespace tunport::tool {
namespace {

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
    : name_{std::move(name)}, keep_{keep}, setup_{links, name_, keep, failed_} {
  if (failed_) throw Error{failed_, name_};
}

LinkSetup::~LinkSetup() { put_back_or_say_so(); }

void LinkSetup::set_mtu(unsigned mtu) {
  if (const InterfaceAddress* const lost = setup_.lost_by(mtu); lost != nullptr && mtu != setup_.mtu())
    throw Failure{status::failed, name_ + ": MTU " + std::to_string(mtu) + ": it would lose its address " +
                                      to_string(lost->prefix) +
                                      ", as IPv6 needs an MTU of 1280 or more; raise mtu= in the port, or "
                                      "choose another device"};
  std::error_code ec;
  setup_.set_mtu(mtu, ec);
  check(ec, name_ + ": MTU " + std::to_string(mtu), "ip link set " + name_ + " mtu " + std::to_string(mtu));
}

void LinkSetup::set_mac(const MacAddress& mac) {
  std::error_code ec;
  setup_.set_mac(mac, ec);
  check(ec, name_ + ": MAC address " + to_string(mac), "ip link set " + name_ + " address " + to_string(mac));
}

void LinkSetup::set_tx_queue_length(unsigned packets) {
  const std::string number = std::to_string(packets);
  std::error_code ec;
  setup_.set_tx_queue_length(packets, ec);
  check(ec, name_ + ": queue length " + number, "ip link set " + name_ + " txqueuelen " + number);
}

void LinkSetup::add_address(const IpPrefix& address) {
  std::error_code ec;
  setup_.add_address(address, ec);
  if (address.address.is_v6() && ec == std::errc::permission_denied)
    // A device that goes with us takes the switch along: the next device begins with the default.
    throw Failure{status::failed, name_ + ": address " + to_string(address) +
                                      ": IPv6 is switched off; switch it on with "
                                      "'sysctl -w net.ipv6.conf." +
                                      (keep_ ? name_ : "default") + ".disable_ipv6=0'"};
  if (address.address.is_v6() && setup_.mtu() < least_ipv6_mtu && ec && ec != Errc::not_permitted)
    throw Failure{status::failed, name_ + ": address " + to_string(address) +
                                      ": IPv6 needs an MTU of 1280 or more, and this is " +
                                      std::to_string(setup_.mtu()) + "; add ',mtu=1280' to the port"};
  check(ec, name_ + ": address " + to_string(address), "ip addr add " + to_string(address) + " dev " + name_);
}

void LinkSetup::set_up() {
  std::error_code ec;
  setup_.set_up(ec);
  check(ec, name_ + ": up", "ip link set " + name_ + " up");
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
