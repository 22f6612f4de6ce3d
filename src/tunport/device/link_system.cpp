#include "tunport/device/link_system.hpp"

#include <cerrno>
#include <utility>

#include "tunport/base/error.hpp"

namespace tunport {
namespace {

/// One interface of a system that knows interfaces by their names only.
class NamedLink final : public LinkSystem {
 public:
  NamedLink(LinkSystem& links, std::string name) : links_{links}, name_{std::move(name)} {}

  std::optional<LinkInfo> find(const std::string&, std::error_code& ec) override {
    return links_.find(name_, ec);
  }
  void set_up(const std::string&, bool up, std::error_code& ec) override { links_.set_up(name_, up, ec); }
  void set_mtu(const std::string&, unsigned mtu, std::error_code& ec) override {
    links_.set_mtu(name_, mtu, ec);
  }
  void set_mac(const std::string&, const MacAddress& mac, std::error_code& ec) override {
    links_.set_mac(name_, mac, ec);
  }
  void set_tx_queue_length(const std::string&, unsigned packets, std::error_code& ec) override {
    links_.set_tx_queue_length(name_, packets, ec);
  }
  void add_address(const std::string&, const IpPrefix& address, std::error_code& ec) override {
    links_.add_address(name_, address, ec);
  }
  void add_interface_address(const std::string&, const InterfaceAddress& address,
                             std::error_code& ec) override {
    links_.add_interface_address(name_, address, ec);
  }
  void remove_address(const std::string&, const IpPrefix& address, std::error_code& ec) override {
    links_.remove_address(name_, address, ec);
  }
  std::vector<IpPrefix> addresses(const std::string&, std::error_code& ec) override {
    return links_.addresses(name_, ec);
  }
  std::vector<InterfaceAddress> interface_addresses(const std::string&, std::error_code& ec) override {
    return links_.interface_addresses(name_, ec);
  }
  void add_route(const Route& route, std::error_code& ec) override { links_.add_route(named(route), ec); }
  void remove_route(const Route& route, std::error_code& ec) override {
    links_.remove_route(named(route), ec);
  }
  std::vector<Route> routes(const std::string&, std::error_code& ec) override {
    return links_.routes(name_, ec);
  }
  void move_to_namespace(const std::string&, int namespace_fd, std::error_code& ec) override {
    links_.move_to_namespace(name_, namespace_fd, ec);
  }
  void remove(const std::string&, std::error_code& ec) override { links_.remove(name_, ec); }
  std::unique_ptr<LinkMonitor> monitor(const std::string&, std::error_code& ec) override {
    return links_.monitor(name_, ec);
  }

 private:
  Route named(Route route) const {
    route.interface = name_;
    return route;
  }

  LinkSystem& links_;
  std::string name_;
};

}  // namespace

std::unique_ptr<LinkSystem> LinkSystem::around(IoSystem&, int, std::error_code& ec) {
  ec.clear();
  return nullptr;
}

std::unique_ptr<LinkSystem> LinkSystem::only(int, const std::string& name) {
  return std::make_unique<NamedLink>(*this, name);
}

std::vector<LinkInfo> LinkSystem::list(std::error_code& ec) {
  ec = errno_code(EOPNOTSUPP);
  return {};
}

std::unique_ptr<LinkMonitor> LinkSystem::monitor(const std::string&, std::error_code& ec) {
  ec = errno_code(EOPNOTSUPP);
  return nullptr;
}

std::string_view to_string(LinkEvent event) {
  switch (event) {
    case LinkEvent::down:
      return "down";
    case LinkEvent::up:
      return "up";
    case LinkEvent::carrier_lost:
      return "carrier lost";
    case LinkEvent::carrier_found:
      return "carrier found";
    case LinkEvent::mtu_changed:
      return "MTU changed";
    case LinkEvent::renamed:
      return "renamed";
    case LinkEvent::addresses_changed:
      return "addresses changed";
    case LinkEvent::moved:
      return "moved to another namespace";
    case LinkEvent::deleted:
      return "deleted";
  }
  return "unknown";
}

void LinkSystem::inside(const std::function<void()>& inside, std::error_code& ec) {
  ec.clear();
  inside();
}

}  // namespace tunport
