#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <linux/if_addr.h>
#include <sys/stat.h>

#include "tunport/base/error.hpp"
#include "tunport/testing/memory_kernel_internal.hpp"
#include "tunport/testing/memory_links_internal.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

constexpr unsigned least_mtu = 68;
constexpr unsigned most_mtu = 65535;
constexpr unsigned ethernet_header = 14;

/// The prefix without host bits: the destination of a route.
IpPrefix network_of(const IpPrefix& prefix) {
  if (prefix.address.is_v6()) {
    auto octets = prefix.address.v6().octets();
    for (unsigned bit = prefix.length; bit < 128; ++bit)
      octets[bit / 8] = static_cast<std::uint8_t>(octets[bit / 8] & ~(0x80U >> bit % 8));
    return {Ipv6Address{octets}, prefix.length};
  }
  const std::uint32_t mask = prefix.length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix.length);
  return {Ipv4Address{prefix.address.v4().value() & mask}, prefix.length};
}

std::vector<Route> connected(const MemoryDevice& device) {
  std::vector<Route> routes;
  if (!device.up) return routes;
  for (const InterfaceAddress& own : device.addresses)
    if (own.prefix.length < 32 || own.prefix.address.is_v6())
      routes.push_back({network_of(own.prefix), std::nullopt, device.name});
  return routes;
}

/// The place of an address that the kernel takes for the same: in IPv4 the prefix length counts.
auto find_address(std::vector<InterfaceAddress>& addresses, const IpPrefix& wanted, bool with_length) {
  return std::ranges::find_if(addresses, [&](const InterfaceAddress& own) {
    return own.prefix.address == wanted.address && (!with_length || own.prefix.length == wanted.length);
  });
}

/// The flags of an address that is added with these: in IPv6 some are for the kernel alone to set.
std::uint32_t flags_of(const InterfaceAddress& added) {
  constexpr std::uint32_t asked_for_v6 = IFA_F_NODAD | IFA_F_OPTIMISTIC | IFA_F_HOMEADDRESS |
                                         IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;
  std::uint32_t flags = added.flags & ~std::uint32_t{IFA_F_PERMANENT | IFA_F_DEPRECATED};
  if (added.prefix.address.is_v6()) flags &= asked_for_v6;
  if (added.valid_seconds == InterfaceAddress::forever) flags |= IFA_F_PERMANENT;
  if (added.preferred_seconds == 0) flags |= IFA_F_DEPRECATED;
  return flags;
}

}  // namespace

bool MemoryLinks::is_away() const { return away_.value_or(kernel_.away); }

MemoryDevice* MemoryLinks::look_up(const std::string& name, std::error_code& ec) {
  kernel_.sweep();
  const bool is_there = only_ && !only_->removed && only_->moved == is_away();
  const auto device = !only_ ? kernel_.find(name, is_away()) : is_there ? only_ : nullptr;
  ec = device ? std::error_code{} : make_error_code(Errc::no_such_device);
  return device.get();
}

MemoryDevice* MemoryLinks::privileged_look_up(const std::string& name, std::error_code& ec) {
  if (kernel_.privileged) return look_up(name, ec);
  ec = Errc::not_permitted;
  return nullptr;
}

MemoryDevice* MemoryLinks::look_up_and_ask(const std::string& name, std::error_code& ec) {
  MemoryDevice* const device = look_up(name, ec);
  if (device == nullptr || kernel_.privileged) return device;
  ec = Errc::not_permitted;
  return nullptr;
}

std::vector<LinkInfo> MemoryLinks::list(std::error_code& ec) {
  ec.clear();
  kernel_.sweep();
  std::vector<LinkInfo> found;
  for (const auto& device : kernel_.devices)
    if (device->moved == is_away() && (!only_ || only_ == device)) found.push_back(device->info());
  return found;
}

std::optional<LinkInfo> MemoryLinks::find(const std::string& name, std::error_code& ec) {
  const MemoryDevice* const device = look_up(name, ec);
  if (device == nullptr) return std::nullopt;
  return device->info();
}

void MemoryLinks::set_up(const std::string& name, bool up, std::error_code& ec) {
  if (MemoryDevice* const device = privileged_look_up(name, ec)) kernel_.set_up(*device, up);
}

void MemoryLinks::set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) {
  MemoryDevice* const device = privileged_look_up(name, ec);
  if (device == nullptr) return;
  if (mtu < least_mtu || mtu > most_mtu - (device->is_tap() ? ethernet_header : 0)) {
    ec = Errc::mtu_out_of_range;
    return;
  }
  if (std::exchange(device->mtu, mtu) != mtu) kernel_.tell(*device, LinkNotice::Kind::state);
  if (mtu < least_ipv6_mtu)
    kernel_.remove_addresses(*device, [](const InterfaceAddress& own) { return own.prefix.address.is_v6(); });
}

void MemoryLinks::set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) {
  MemoryDevice* const device = privileged_look_up(name, ec);
  if (device == nullptr) return;
  if (!device->is_tap())
    ec = Errc::no_mac_address;
  else if (mac.is_multicast() || mac == MacAddress{})
    ec = Errc::invalid_mac_address;
  else
    device->mac = mac;
}

void MemoryLinks::set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) {
  if (MemoryDevice* const device = privileged_look_up(name, ec)) device->set_tx_queue_length(packets);
}

void MemoryLinks::add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) {
  add_interface_address(name, {.prefix = address}, ec);
}

void MemoryLinks::add_interface_address(const std::string& name, const InterfaceAddress& added,
                                        std::error_code& ec) {
  MemoryDevice* const device = look_up_and_ask(name, ec);
  if (device == nullptr) return;
  const IpPrefix& prefix = added.prefix;
  if (prefix.address.is_v6() && device->mtu < least_ipv6_mtu) {
    ec = Errc::mtu_too_small;
  } else if (prefix.length > prefix.address.bits() || added.valid_seconds == 0 ||
             added.preferred_seconds > added.valid_seconds) {
    ec = errno_code(EINVAL);
  } else if (find_address(device->addresses, prefix, prefix.address.is_v4()) != device->addresses.end()) {
    ec = errno_code(EEXIST);
  } else {
    device->addresses.push_back(added);
    device->addresses.back().flags = flags_of(added);
    kernel_.tell(*device, LinkNotice::Kind::addresses);
  }
}

void MemoryLinks::remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) {
  MemoryDevice* const device = look_up_and_ask(name, ec);
  if (device == nullptr) return;
  const auto found = find_address(device->addresses, address, true);
  if (found == device->addresses.end()) {
    ec = errno_code(EADDRNOTAVAIL);
    return;
  }
  device->addresses.erase(found);
  kernel_.tell(*device, LinkNotice::Kind::addresses);
}

std::vector<IpPrefix> MemoryLinks::addresses(const std::string& name, std::error_code& ec) {
  std::vector<IpPrefix> result;
  for (const InterfaceAddress& address : interface_addresses(name, ec)) result.push_back(address.prefix);
  return result;
}

std::vector<InterfaceAddress> MemoryLinks::interface_addresses(const std::string& name, std::error_code& ec) {
  const MemoryDevice* const device = look_up(name, ec);
  return device == nullptr ? std::vector<InterfaceAddress>{} : device->addresses;
}

void MemoryLinks::add_route(const Route& route, std::error_code& ec) {
  MemoryDevice* const device = look_up_and_ask(route.interface, ec);
  if (device == nullptr) return;
  const bool is_v4 = route.destination.address.is_v4();
  const auto known = routes(route.interface, ec);
  std::vector<Route> added;
  for (const auto& other : kernel_.devices)
    if (other->moved == device->moved) std::ranges::copy(other->routes, std::back_inserter(added));
  const auto is_there = [&](const std::vector<Route>& among) {
    return std::ranges::find(among, route.destination, &Route::destination) != among.end();
  };
  const auto reaches = [&](const Route& other) {
    return !other.gateway && other.destination.contains(*route.gateway);
  };
  if (route.gateway && route.gateway->is_v4() != is_v4)
    ec = Errc::invalid_route;  // NOLINT(bugprone-branch-clone): in the kernel's order
  else if (!device->up)
    ec = errno_code(ENETDOWN);
  else if (network_of(route.destination) != route.destination)
    ec = Errc::invalid_route;
  else if (is_there(added) || (is_v4 && is_there(known)))  // connected IPv6 routes have another metric
    ec = errno_code(EEXIST);
  else if (route.gateway && std::ranges::none_of(known, reaches))
    ec = errno_code(is_v4 ? ENETUNREACH : EHOSTUNREACH);
  else
    device->routes.push_back({route.destination, route.gateway, device->name});
}

void MemoryLinks::remove_route(const Route& route, std::error_code& ec) {
  MemoryDevice* const device = look_up_and_ask(route.interface, ec);
  if (device == nullptr) return;
  if (std::erase(device->routes, Route{route.destination, route.gateway, device->name}) == 0)
    ec = errno_code(ESRCH);
}

std::vector<Route> MemoryLinks::routes(const std::string& name, std::error_code& ec) {
  const MemoryDevice* const device = look_up(name, ec);
  if (device == nullptr) return {};
  auto found = connected(*device);
  std::ranges::copy(device->routes, std::back_inserter(found));
  return found;
}

void MemoryLinks::move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) {
  MemoryDevice* const device = privileged_look_up(name, ec);
  if (device == nullptr) return;
  struct stat status {};
  if (::fstat(namespace_fd, &status) != 0) {
    ec = errno_code(EBADF);
    return;
  }
  kernel_.set_up(*device, false);
  kernel_.remove_addresses(*device, [](const auto&) { return true; });
  kernel_.tell(*device, LinkNotice::Kind::moved);
  device->moved = true;
}

void MemoryLinks::remove(const std::string& name, std::error_code& ec) {
  MemoryDevice* const device = privileged_look_up(name, ec);
  if (device == nullptr) return;
  if (device->is_tunnel())
    kernel_.remove(*device);
  else
    ec = errno_code(EOPNOTSUPP);
}

std::unique_ptr<LinkSystem> MemoryLinks::around(IoSystem&, int fd, std::error_code& ec) {
  ec.clear();
  auto links = std::make_unique<MemoryLinks>(kernel_);
  kernel_.sweep();
  const MemoryFile* const file = kernel_.find_file(fd);
  if (file == nullptr || !file->device || file->device->removed)
    ec = errno_code(EBADFD);
  else
    links->away_ = file->device->moved;
  return ec ? nullptr : std::move(links);
}

std::unique_ptr<LinkSystem> MemoryLinks::only(int index, const std::string&) {
  auto link = std::make_unique<MemoryLinks>(kernel_);
  link->away_ = is_away();
  const auto found = std::ranges::find(kernel_.devices, index, &MemoryDevice::index);
  if (found != kernel_.devices.end()) link->only_ = *found;
  return link;
}

std::unique_ptr<LinkMonitor> MemoryLinks::monitor(const std::string& name, std::error_code& ec) {
  class Monitor final : public LinkMonitor {
   public:
    explicit Monitor(std::shared_ptr<MemoryNotices> notices)
        : fd_{notices->readiness.open(O_NONBLOCK | O_CLOEXEC)}, notices_{std::move(notices)} {}
    int fileno() const override { return fd_.get(); }
    std::vector<LinkNotice> take() override {
      notices_->readiness.set_readable(false);
      if (notices_->lost) {
        notices_->notices.push_back({.kind = LinkNotice::Kind::lost});
        notices_->notices.push_back({.link = notices_->device->info()});
        notices_->lost = false;
      }
      return std::exchange(notices_->notices, {});
    }

   private:
    UniqueFd fd_;
    std::shared_ptr<MemoryNotices> notices_;
  };

  const MemoryDevice* const device = look_up(name, ec);
  if (device == nullptr) return nullptr;
  auto notices = std::make_shared<MemoryNotices>();
  notices->device = kernel_.find(device->index);
  if (!notices->device) notices->device = only_;
  notices->away = device->moved;
  auto monitor = std::make_unique<Monitor>(notices);
  if (monitor->fileno() < 0) {
    ec = errno_code(EMFILE);
    return nullptr;
  }
  kernel_.monitors.push_back(notices);
  kernel_.tell(*device, LinkNotice::Kind::state);
  return monitor;
}

void MemoryLinks::inside(const std::function<void()>& inside, std::error_code& ec) {
  ec.clear();
  struct WayBack {
    bool& away;
    bool home;
    ~WayBack() { away = home; }
  } const way_back{kernel_.away, kernel_.away};
  kernel_.away = is_away();
  inside();
}

}  // namespace tunport
