#pragma once
/// `LinkSystem` on rtnetlink, by libnl-route.

#include <memory>
#include <optional>
#include <utility>

#include "tunport/device/link_system.hpp"

struct nlmsghdr;

namespace tunport {

/// The kernel's interfaces. Each call opens a netlink socket of its own, so the object holds no state that a
/// change of namespace could make stale, and is safe from any thread.
class LinuxLinks final : public LinkSystem {
 public:
  /// Works in the network namespace that the calling thread is in at each call.
  LinuxLinks() = default;
  /// Works in the given namespace (see `open_namespace`), wherever the caller is. Needs CAP_SYS_ADMIN over
  /// it. With an empty descriptor every call fails with EBADF: it never falls back to the caller's own.
  explicit LinuxLinks(UniqueFd network_namespace) : namespace_{std::move(network_namespace)} {}

  std::vector<LinkInfo> list(std::error_code& ec) override;
  std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) override;
  void set_up(const std::string& name, bool up, std::error_code& ec) override;
  void set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) override;
  void set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) override;
  void set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) override;
  void add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override;
  void add_interface_address(const std::string& name, const InterfaceAddress& address,
                             std::error_code& ec) override;
  void remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override;
  std::vector<IpPrefix> addresses(const std::string& name, std::error_code& ec) override;
  std::vector<InterfaceAddress> interface_addresses(const std::string& name, std::error_code& ec) override;
  void add_route(const Route& route, std::error_code& ec) override;
  void remove_route(const Route& route, std::error_code& ec) override;
  std::vector<Route> routes(const std::string& name, std::error_code& ec) override;
  void move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) override;
  void remove(const std::string& name, std::error_code& ec) override;
  void in_namespace_of(const std::string& network_namespace, const std::function<void()>& inside,
                       std::error_code& ec) override;
  std::unique_ptr<LinkSystem> around(IoSystem& io, int fd, std::error_code& ec) override;
  std::unique_ptr<LinkSystem> only(int index, const std::string& name) override;
  std::unique_ptr<LinkMonitor> monitor(const std::string& name, std::error_code& ec) override;
  void inside(const std::function<void()>& inside, std::error_code& ec) override;

  // The throwing forms.
  using LinkSystem::add_address;
  using LinkSystem::add_route;
  using LinkSystem::addresses;
  using LinkSystem::find;
  using LinkSystem::move_to_namespace;
  using LinkSystem::remove;
  using LinkSystem::remove_address;
  using LinkSystem::remove_route;
  using LinkSystem::routes;
  using LinkSystem::set_mac;
  using LinkSystem::set_mtu;
  using LinkSystem::set_tx_queue_length;
  using LinkSystem::set_up;

 private:
  void change_address(int type, int flags, const std::string& name, const InterfaceAddress& address,
                      std::error_code& ec);
  void change_route(bool add, const Route& route, std::error_code& ec);

  void change_link(const std::string& name, int attribute, const void* data, std::size_t size,
                   std::error_code& ec);

  std::optional<UniqueFd> namespace_;  ///< nothing: the caller's
  int index_ = 0;                      ///< of the only interface; 0: the one that is named
};

// The messages are whole: libnl, which reads them, keeps to the length in the header. Attributes may be of
// any size.

/// The interface in an RTM_NEWLINK message; nothing in another message.
std::optional<LinkInfo> parse_link(nlmsghdr& message);
/// The address of interface `index` in an RTM_NEWADDR message; nothing in another message.
std::optional<InterfaceAddress> parse_address(nlmsghdr& message, int index);

}  // namespace tunport
