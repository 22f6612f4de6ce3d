// A port changes only what the program asked for on its interface.
#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;

/// Looks interfaces up, and fails the test at any other call.
class OnlyLooking : public LinkSystem {
 public:
  explicit OnlyLooking(LinkSystem& links) : links_{links} {}
  std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) override {
    return links_.find(name, ec);
  }
  void set_up(const std::string&, bool, std::error_code&) override { unasked("set_up"); }
  void set_mtu(const std::string&, unsigned, std::error_code&) override { unasked("set_mtu"); }
  void set_mac(const std::string&, const MacAddress&, std::error_code&) override { unasked("set_mac"); }
  void set_tx_queue_length(const std::string&, unsigned, std::error_code&) override {
    unasked("set_tx_queue_length");
  }
  void add_address(const std::string&, const IpPrefix&, std::error_code&) override { unasked("add_address"); }
  void add_interface_address(const std::string&, const InterfaceAddress&, std::error_code&) override {
    unasked("add_interface_address");
  }
  void remove_address(const std::string&, const IpPrefix&, std::error_code&) override {
    unasked("remove_address");
  }
  std::vector<IpPrefix> addresses(const std::string&, std::error_code&) override {
    unasked("addresses");
    return {};
  }
  std::vector<InterfaceAddress> interface_addresses(const std::string&, std::error_code&) override {
    unasked("interface_addresses");
    return {};
  }
  void add_route(const Route&, std::error_code&) override { unasked("add_route"); }
  void remove_route(const Route&, std::error_code&) override { unasked("remove_route"); }
  std::vector<Route> routes(const std::string&, std::error_code&) override {
    unasked("routes");
    return {};
  }
  void move_to_namespace(const std::string&, int, std::error_code&) override { unasked("move_to_namespace"); }
  void remove(const std::string&, std::error_code&) override { unasked("remove"); }

 private:
  static void unasked(const char* what) { ADD_FAILURE() << what << " was not asked for"; }
  LinkSystem& links_;
};

class UntouchedLinks : public PortTest {};

TEST_F(UntouchedLinks, StartWriteAndStopLeaveAPersistentInterfaceAsItWas) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  OnlyLooking links{kernel.links()};
  make({.system = {kernel, links}}).start_listening();
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_refused(DropReason::link_down));
  clock.run_ready();
  port->stop_listening();
  clock.run_ready();
  std::error_code ec;
  const auto link = kernel.links().find("tap0", ec);
  ASSERT_TRUE(link) << "persistent still";
  EXPECT_FALSE(link->up);
}

}  // namespace
}  // namespace tunport
