#pragma once
/// `LinkSystem` on the fake kernel of a `MemorySystem`.

#include <memory>
#include <optional>

#include "tunport/device/link_system.hpp"

namespace tunport {

struct MemoryDevice;
struct MemoryKernel;

/// The fake kernel's interfaces: the devices, and "lo". Connected routes follow the addresses of an interface
/// while it is up. IPv6 link-local addresses are not made.
class MemoryLinks final : public LinkSystem {
 public:
  /// For `MemorySystem` alone. Borrows the kernel.
  explicit MemoryLinks(MemoryKernel& kernel) : kernel_{kernel} {}

  std::vector<LinkInfo> list(std::error_code& ec) override;
  std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) override;
  void set_up(const std::string& name, bool up, std::error_code& ec) override;
  void set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) override;
  void set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) override;
  void set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) override;
  void add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override;
  void add_interface_address(const std::string& name, const InterfaceAddress& added,
                             std::error_code& ec) override;
  void remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override;
  std::vector<IpPrefix> addresses(const std::string& name, std::error_code& ec) override;
  std::vector<InterfaceAddress> interface_addresses(const std::string& name, std::error_code& ec) override;
  void add_route(const Route& route, std::error_code& ec) override;
  void remove_route(const Route& route, std::error_code& ec) override;
  std::vector<Route> routes(const std::string& name, std::error_code& ec) override;
  void move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) override;
  void remove(const std::string& name, std::error_code& ec) override;
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
  MemoryDevice* look_up(const std::string& name, std::error_code& ec);
  // As by the kernel and LinuxLinks: changes of a link test the privilege first, changes of addresses and
  // routes look up the name first.
  MemoryDevice* privileged_look_up(const std::string& name, std::error_code& ec);
  MemoryDevice* look_up_and_ask(const std::string& name, std::error_code& ec);

  /// True if the calls act in the second namespace, with the moved devices.
  bool is_away() const;

  MemoryKernel& kernel_;
  std::optional<bool> away_;            ///< true: the second namespace; nothing: the program's
  std::shared_ptr<MemoryDevice> only_;  ///< the only interface; null: calls go by name
};

}  // namespace tunport
