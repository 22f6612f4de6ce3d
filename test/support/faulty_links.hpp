#pragma once
/// Interfaces with failing calls for tests: a call fails without being made, or is made and fails all the
/// same, as if the kernel's answer were lost.

#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "tunport/device/link_system.hpp"

namespace tunport::test_support {

/// Passes each call to `inner`, except the call of `fault`. `inner` is borrowed.
class FaultyLinks : public LinkSystem {
 public:
  explicit FaultyLinks(LinkSystem& inner) : inner_{inner} {}

  enum class Call : std::uint8_t { set_up, set_mtu, add_address, list_addresses };
  struct Fault {
    Call call;
    std::error_code error;
    bool is_done = false;  ///< the call is made, and reports the error all the same
    bool throws = false;   ///< the call is made, and throws std::bad_alloc
  };
  std::optional<Fault> fault;

  std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) override {
    return inner_.find(name, ec);
  }
  void set_up(const std::string& name, bool up, std::error_code& ec) override {
    make(Call::set_up, ec, [&] { inner_.set_up(name, up, ec); });
  }
  void set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) override {
    make(Call::set_mtu, ec, [&] { inner_.set_mtu(name, mtu, ec); });
  }
  void set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) override {
    inner_.set_mac(name, mac, ec);
  }
  void set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) override {
    inner_.set_tx_queue_length(name, packets, ec);
  }
  void add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override {
    make(Call::add_address, ec, [&] { inner_.add_address(name, address, ec); });
  }
  void add_interface_address(const std::string& name, const InterfaceAddress& address,
                             std::error_code& ec) override {
    make(Call::add_address, ec, [&] { inner_.add_interface_address(name, address, ec); });
  }
  void remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override {
    inner_.remove_address(name, address, ec);
  }
  std::vector<IpPrefix> addresses(const std::string& name, std::error_code& ec) override {
    std::vector<IpPrefix> result;
    make(Call::list_addresses, ec, [&] { result = inner_.addresses(name, ec); });
    return result;
  }
  std::vector<InterfaceAddress> interface_addresses(const std::string& name, std::error_code& ec) override {
    std::vector<InterfaceAddress> result;
    make(Call::list_addresses, ec, [&] { result = inner_.interface_addresses(name, ec); });
    return result;
  }
  void add_route(const Route& route, std::error_code& ec) override { inner_.add_route(route, ec); }
  void remove_route(const Route& route, std::error_code& ec) override { inner_.remove_route(route, ec); }
  std::vector<Route> routes(const std::string& name, std::error_code& ec) override {
    return inner_.routes(name, ec);
  }
  void move_to_namespace(const std::string& name, int fd, std::error_code& ec) override {
    inner_.move_to_namespace(name, fd, ec);
  }
  void remove(const std::string& name, std::error_code& ec) override { inner_.remove(name, ec); }

 private:
  template <class Made>
  void make(Call call, std::error_code& ec, Made made) {
    const bool fails = fault && fault->call == call;
    if (!fails || fault->is_done || fault->throws) made();
    if (fails && fault->throws) throw std::bad_alloc{};
    if (fails) ec = fault->error;
  }

  LinkSystem& inner_;
};

}  // namespace tunport::test_support
