#pragma once
/// The link of a device: the interface bound to the device's descriptor.

#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "tunport/device/link_system.hpp"

namespace tunport {

/// An interface, in its own namespace and by its index: neither the caller's namespace nor a rename leads to
/// a stranger. Made by `Device::link`. The calls are the calls of `LinkSystem`, with the same errors; an
/// interface deleted since, or moved to another namespace, is `Errc::no_such_device`. Each call has a
/// throwing form. The device's system outlives the link.
class Link {
 public:
  Link() = default;
  /// `only`: from `LinkSystem::only`; `name`: the interface's, for errors.
  Link(std::shared_ptr<LinkSystem> around, std::shared_ptr<LinkSystem> only, std::string name)
      : around_{std::move(around)}, only_{std::move(only)}, name_{std::move(name)} {}
  explicit operator bool() const { return only_ != nullptr; }
  /// The interface's name when the link was made. Precondition for the calls below: not empty.
  const std::string& name() const { return name_; }
  /// The same calls as a `LinkSystem`: each acts on this interface, and ignores the name given.
  LinkSystem& system() const { return *only_; }

  /// The present state of the interface.
  LinkInfo info(std::error_code& ec) const { return only_->find(name_, ec).value_or(LinkInfo{}); }
  void set_up(bool up, std::error_code& ec) const { only_->set_up(name_, up, ec); }
  void set_mtu(unsigned mtu, std::error_code& ec) const { only_->set_mtu(name_, mtu, ec); }
  void set_mac(const MacAddress& mac, std::error_code& ec) const { only_->set_mac(name_, mac, ec); }
  void set_tx_queue_length(unsigned packets, std::error_code& ec) const {
    only_->set_tx_queue_length(name_, packets, ec);
  }
  void add_address(const IpPrefix& address, std::error_code& ec) const {
    only_->add_address(name_, address, ec);
  }
  void add_interface_address(const InterfaceAddress& address, std::error_code& ec) const {
    only_->add_interface_address(name_, address, ec);
  }
  void remove_address(const IpPrefix& address, std::error_code& ec) const {
    only_->remove_address(name_, address, ec);
  }
  std::vector<IpPrefix> addresses(std::error_code& ec) const { return only_->addresses(name_, ec); }
  std::vector<InterfaceAddress> interface_addresses(std::error_code& ec) const {
    return only_->interface_addresses(name_, ec);
  }
  /// `route.interface` is not looked at.
  void add_route(const Route& route, std::error_code& ec) const { only_->add_route(named(route), ec); }
  void remove_route(const Route& route, std::error_code& ec) const { only_->remove_route(named(route), ec); }
  std::vector<Route> routes(std::error_code& ec) const { return only_->routes(name_, ec); }
  void remove(std::error_code& ec) const { only_->remove(name_, ec); }
  /// Runs `inside` with the calling thread in the interface's namespace.
  void inside(const std::function<void()>& inside, std::error_code& ec) const { only_->inside(inside, ec); }

  LinkInfo info() const { return only_->find(name_); }
  void set_up(bool up) const { only_->set_up(name_, up); }
  void set_mtu(unsigned mtu) const { only_->set_mtu(name_, mtu); }
  void set_mac(const MacAddress& mac) const { only_->set_mac(name_, mac); }
  void set_tx_queue_length(unsigned packets) const { only_->set_tx_queue_length(name_, packets); }
  void add_address(const IpPrefix& address) const { only_->add_address(name_, address); }
  void remove_address(const IpPrefix& address) const { only_->remove_address(name_, address); }
  std::vector<IpPrefix> addresses() const { return only_->addresses(name_); }
  void add_route(const Route& route) const { only_->add_route(named(route)); }
  void remove_route(const Route& route) const { only_->remove_route(named(route)); }
  std::vector<Route> routes() const { return only_->routes(name_); }
  void remove() const { only_->remove(name_); }

 private:
  Route named(Route route) const {
    route.interface = name_;
    return route;
  }

  std::shared_ptr<LinkSystem> around_;  ///< outlives `only_`
  std::shared_ptr<LinkSystem> only_;
  std::string name_;
};

}  // namespace tunport
