#include "link_setup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/base/error.hpp"
#include "tunport/testing/memory_system.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class LinkSetupTest : public testing::Test {
 protected:
  LinkSetupTest() { kernel_.add_persistent(DeviceKind::tap, "tp0"); }
  std::vector<IpPrefix> addresses() { return kernel_.links().addresses("tp0", ec_); }
  LinkInfo link() { return *kernel_.links().find("tp0", ec_); }
  static IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

  MemorySystem kernel_;
  std::error_code ec_;
};

TEST_F(LinkSetupTest, PutsBackWhatItChanged) {
  kernel_.links().add_address("tp0", prefix("10.5.0.1/24"), ec_);
  {
    LinkSetup setup{kernel_.links(), "tp0", true};
    setup.set_mtu(1400);
    setup.add_address(prefix("10.5.0.1/24"));  // there already
    setup.add_address(prefix("10.77.0.1/24"));
    setup.set_up();
    EXPECT_EQ(link().mtu, 1400U);
    EXPECT_TRUE(link().up);
    EXPECT_EQ(addresses().size(), 2U);
  }
  EXPECT_EQ(link().mtu, 1500U);
  EXPECT_FALSE(link().up);
  EXPECT_THAT(addresses(), ElementsAre(prefix("10.5.0.1/24")));
}

TEST_F(LinkSetupTest, PutsBackOnce) {
  LinkSetup setup{kernel_.links(), "tp0", true};
  setup.set_up();
  EXPECT_FALSE(setup.put_back());
  kernel_.links().set_up("tp0", true, ec_);
  EXPECT_FALSE(setup.put_back());
  EXPECT_TRUE(link().up);
}

TEST_F(LinkSetupTest, LeavesADeviceThatGoesByItself) {
  {
    LinkSetup setup{kernel_.links(), "tp0", false};
    setup.set_up();
  }
  EXPECT_TRUE(link().up);
}

TEST_F(LinkSetupTest, NeedsNoPrivilegeForWhatIsAsItShouldBe) {
  kernel_.links().add_address("tp0", prefix("10.77.0.1/24"), ec_);
  kernel_.links().set_up("tp0", true, ec_);
  kernel_.set_privileged(false);
  LinkSetup setup{kernel_.links(), "tp0", true};
  setup.set_mtu(1500);
  setup.add_address(prefix("10.77.0.1/24"));
  setup.set_up();
  try {
    setup.add_address(prefix("10.78.0.1/24"));
    ADD_FAILURE() << "not refused";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status(), status::failed);
    EXPECT_THAT(failure.what(), HasSubstr("'ip addr add 10.78.0.1/24 dev tp0'"));
  }
}

TEST_F(LinkSetupTest, AnInterfaceThatHasGoneIsNoErrorInTheEnd) {
  LinkSetup setup{kernel_.links(), "tp0", true};
  setup.set_mtu(1400);
  setup.set_up();
  kernel_.tunnel("tp0").remove();
  EXPECT_FALSE(setup.put_back());
  EXPECT_EQ(setup.kernel_drops(), 0U);
}

/// The line of the failure that `call` ends in.
template <class Call>
std::string failure_of(Call call) {
  try {
    call();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status(), status::failed);
    return failure.what();
  }
  return "no failure";
}

TEST_F(LinkSetupTest, AnMtuThatWouldCostIpv6AddressesIsRefused) {
  kernel_.links().add_address("tp0", prefix("fd00:5::1/64"), ec_);
  LinkSetup setup{kernel_.links(), "tp0", true};
  EXPECT_EQ(
      failure_of([&] { setup.set_mtu(1279); }),
      "tp0: MTU 1279: it would lose its address fd00:5::1/64, as IPv6 needs an MTU of 1280 or more; raise "
      "mtu= in the port, or choose another device");
  EXPECT_THAT(addresses(), ElementsAre(prefix("fd00:5::1/64")));
  setup.set_mtu(1280);
  EXPECT_EQ(link().mtu, 1280U);
}

TEST_F(LinkSetupTest, AnIpv6AddressOnAShortMtuNamesTheLeast) {
  kernel_.links().set_mtu("tp0", 1000, ec_);
  LinkSetup setup{kernel_.links(), "tp0", true};
  EXPECT_EQ(
      failure_of([&] { setup.add_address(prefix("fd00:5::1/64")); }),
      "tp0: address fd00:5::1/64: IPv6 needs an MTU of 1280 or more, and this is 1000; add ',mtu=1280' to "
      "the port");
  setup.set_mtu(1280);
  setup.add_address(prefix("fd00:5::1/64"));
}

TEST_F(LinkSetupTest, AnotherThatHasItsNameIsLeftAlone) {
  LinkSetup setup{kernel_.links(), "tp0", true};
  setup.set_mtu(1400);
  setup.add_address(prefix("10.77.0.1/24"));
  setup.set_up();
  kernel_.tunnel("tp0").remove();
  kernel_.add_persistent(DeviceKind::tap, "tp0", {.up = true});
  kernel_.links().set_mtu("tp0", 9000, ec_);
  kernel_.links().add_address("tp0", prefix("10.77.0.1/24"), ec_);
  EXPECT_FALSE(setup.put_back());
  EXPECT_EQ(link().mtu, 9000U);
  EXPECT_TRUE(link().up);
  EXPECT_THAT(addresses(), ElementsAre(prefix("10.77.0.1/24")));
}

TEST_F(LinkSetupTest, AnUnknownInterfaceIsAnError) {
  EXPECT_THROW((LinkSetup{kernel_.links(), "tp9", true}), Error);
}

TEST_F(LinkSetupTest, CountsWhatTheKernelDroppedSince) {
  kernel_.tunnel("tp0").set_up(true);
  const std::vector<std::byte> frame(60);
  kernel_.tunnel("tp0").inject(frame);  // nobody is attached
  const LinkSetup setup{kernel_.links(), "tp0", true};
  EXPECT_EQ(setup.kernel_drops(), 0U);
  kernel_.tunnel("tp0").inject(frame);
  EXPECT_EQ(setup.kernel_drops(), 1U);
}

}  // namespace
}  // namespace tunport::tool
