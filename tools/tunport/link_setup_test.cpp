#include "link_setup.hpp"

#include <algorithm>
#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_addr.h>

#include "tunport/base/error.hpp"
#include "tunport/testing/memory_system.hpp"

#include "failure.hpp"
#include "support/faulty_links.hpp"

namespace tunport::tool {
namespace {

using test_support::FaultyLinks;
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

using Call = FaultyLinks::Call;

class FaultyLinkSetupTest : public LinkSetupTest {
 protected:
  void add(InterfaceAddress address) {
    address.origin = 0;
    links_.add_interface_address("tp0", address, ec_);
    EXPECT_FALSE(ec_) << ec_.message();
  }
  std::vector<InterfaceAddress> interface_addresses() {
    links_.fault.reset();
    return links_.interface_addresses("tp0", ec_);
  }
  FaultyLinks links_{kernel_.links()};
};

TEST_F(FaultyLinkSetupTest, WhatWasDoneWithoutAnAnswerIsUndone) {
  const FaultyLinks::Fault faults[] = {
      {Call::set_mtu, errno_code(ENOBUFS), true},    {Call::set_up, errno_code(EPROTO), true},
      {Call::add_address, errno_code(ENOMEM), true}, {Call::set_mtu, {}, true, true},
      {Call::add_address, errno_code(EAGAIN), true}, {Call::set_up, {}, true, true},
      {Call::add_address, {}, true, true},
  };
  for (const auto& fault : faults) {
    SCOPED_TRACE(&fault - faults);
    {
      LinkSetup setup{links_, "tp0", true};
      links_.fault = fault;
      EXPECT_ANY_THROW({
        setup.set_mtu(1400);
        setup.add_address(prefix("10.77.0.1/24"));
        setup.set_up();
      });
      links_.fault.reset();
    }
    EXPECT_EQ(link().mtu, 1500U);
    EXPECT_FALSE(link().up);
    EXPECT_THAT(addresses(), ElementsAre());
  }
}

TEST_F(FaultyLinkSetupTest, WhatWasRefusedIsNotUndone) {
  testing::internal::CaptureStderr();
  {
    LinkSetup setup{links_, "tp0", true};
    links_.fault = {Call::add_address, errno_code(EEXIST)};
    kernel_.links().add_address("tp0", prefix("10.77.0.1/24"), ec_);  // by another, meanwhile
    EXPECT_THROW(setup.add_address(prefix("10.77.0.1/24")), Failure);
    kernel_.set_privileged(false);
    links_.fault.reset();
    EXPECT_THROW(setup.set_mtu(1400), Failure);
    EXPECT_THROW(setup.set_up(), Failure);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(addresses(), ElementsAre(prefix("10.77.0.1/24")));
}

TEST_F(FaultyLinkSetupTest, AShortageIsNotBlamedOnTheValue) {
  const struct {
    int error;
    const char* said;
  } table[] = {
      {EMFILE,
       "tp0: address 10.77.0.1/24: Too many open files; close descriptors, or raise the limit "
       "('ulimit -n')"},
      {ENOMEM,
       "tp0: address 10.77.0.1/24: Cannot allocate memory; the kernel is short of memory; try again "
       "later, with less under way"},
      {ERANGE,
       "tp0: address 10.77.0.1/24: Numerical result out of range; the kernel refuses 'ip addr add "
       "10.77.0.1/24 dev tp0' too: choose another value"},
      {EXDEV,
       "tp0: address 10.77.0.1/24: Invalid cross-device link; try 'ip addr add 10.77.0.1/24 dev tp0', "
       "which may say more"},
  };
  for (const auto& row : table) {
    LinkSetup setup{links_, "tp0", true};
    links_.fault = {Call::add_address, errno_code(row.error)};
    EXPECT_EQ(failure_of([&] { setup.add_address(prefix("10.77.0.1/24")); }), row.said);
    links_.fault.reset();
  }
}

TEST_F(FaultyLinkSetupTest, AListThatFailsIsNotAnEmptyOne) {
  const InterfaceAddress was{.prefix = prefix("fd00:5::1/64"), .metric = 77};
  add(was);
  LinkSetup setup{links_, "tp0", true};
  setup.set_up();
  links_.fault = {Call::list_addresses, errno_code(EMFILE)};
  EXPECT_EQ(setup.put_back(), errno_code(EMFILE)) << "and status 1";
  EXPECT_THAT(addresses(), ElementsAre(was.prefix));
  EXPECT_EQ(interface_addresses().front().metric, 77U);
  links_.fault = {Call::list_addresses, errno_code(EMFILE)};
  EXPECT_THROW((LinkSetup{links_, "tp0", true}), Error);
}

TEST_F(FaultyLinkSetupTest, Ipv6AddressesComeBackAsTheyWere) {
  const InterfaceAddress table[] = {
      {.prefix = prefix("fd00:5::1/64"), .flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE, .metric = 77},
      {.prefix = prefix("fd00:6::1/128"), .peer = IpAddress::parse("fd00:6::2")},
      {.prefix = prefix("fd00:7::1/64"), .valid_seconds = 9000, .preferred_seconds = 0},
      {.prefix = prefix("fe80::77/64")},
  };
  for (const InterfaceAddress& address : table) add(address);
  const auto before = interface_addresses();
  LinkSetup setup{links_, "tp0", true};
  setup.set_up();
  add({.prefix = prefix("fd00:8::1/64"), .metric = 5});  // by another, meanwhile
  EXPECT_FALSE(setup.put_back());
  auto after = interface_addresses();
  const auto found = std::ranges::find(after, prefix("fd00:8::1/64"), &InterfaceAddress::prefix);
  ASSERT_NE(found, after.end());
  EXPECT_EQ(found->metric, 5U);
  after.erase(found);
  EXPECT_THAT(after, testing::UnorderedElementsAreArray(before));
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
