/// Lists of addresses and routes beside changes.

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "tunport/device/device.hpp"
#include "tunport/device/linux_links_internal.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

IpPrefix numbered(unsigned number) { return {Ipv4Address{0x0a000001U + (number << 8U)}, 24}; }

class Netlink : public sandbox::KernelTest {
 protected:
  static constexpr unsigned fixed = 300;

  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    tun = Device::open(DeviceKind::tun, "tun0");
    links.set_up("tun0", true, ec);
    for (unsigned number = 0; number < fixed && !ec; ++number)
      links.add_address("tun0", numbered(number), ec);
    ASSERT_FALSE(ec) << ec.message();
    // A thread begins in the namespace of its maker.
    changer = std::thread{[this] {
      std::error_code failed;
      while (!stop && !failed) {
        links.add_address("tun0", numbered(fixed), failed);
        if (!failed) links.remove_address("tun0", numbered(fixed), failed);
        ++changes;
        // About one list in three meets a change; a change at every moment would leave none whole.
        std::this_thread::sleep_for(std::chrono::microseconds{300});
      }
      EXPECT_FALSE(failed) << failed.message();
    }};
  }
  void TearDown() override {
    stop = true;
    if (changer.joinable()) changer.join();
  }

  Device tun;
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  std::thread changer;
};

TEST_F(Netlink, AddressesAreListedWholeWhileTheyChange) {
  int failed = 0;
  for (int i = 0; i < 200; ++i) {
    const auto list = links.addresses("tun0", ec);
    failed += ec ? 1 : 0;
    if (ec) continue;
    const std::set<IpPrefix> listed{list.begin(), list.end()};
    EXPECT_EQ(listed.size(), list.size()) << "an address twice";
    for (unsigned number = 0; number < fixed; ++number) EXPECT_TRUE(listed.contains(numbered(number)));
  }
  EXPECT_EQ(failed, 0) << ec.message();
  EXPECT_GT(changes, 0);
}

TEST_F(Netlink, RoutesAreListedWholeWhileTheyChange) {
  for (int i = 0; i < 200; ++i) {
    EXPECT_GE(links.routes("tun0", ec).size(), fixed);
    ASSERT_FALSE(ec) << ec.message();
  }
  EXPECT_GT(changes, 0);
}

}  // namespace
}  // namespace tunport
