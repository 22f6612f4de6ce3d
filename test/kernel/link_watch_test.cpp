/// The states of an interface, told by the kernel.

#include "tunport/event/link_watch.hpp"

#include <algorithm>

#include <sched.h>
#include <sys/resource.h>

#include "tunport/base/error.hpp"
#include "tunport/device/device.hpp"
#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/port/tuntap_port.hpp"

#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using enum LinkEvent;

class KernelLinkWatch : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    if (!IsSkipped()) device = Device::open(DeviceKind::tap, "tp0");
  }
  /// Records events but changes of addresses: the kernel makes IPv6 addresses of its own.
  LinkWatch::Handler remember() {
    return [this](LinkEvent event, const LinkInfo& link) {
      if (event == addresses_changed) return;
      states.push_back(event);
      last = link;
    };
  }
  /// Turns the loop until the last event is `event`.
  bool is_told(LinkEvent event) {
    return turn_until([&] { return !states.empty() && states.back() == event; });
  }

  Device device;
  std::vector<LinkEvent> states;
  LinkInfo last;
};

TEST_P(KernelLinkWatch, TellsThePresentStateAndEachChange) {
  LinkWatch watch{reactor(), device.link(), remember()};
  EXPECT_THAT(states, IsEmpty()) << "the reactor tells";
  EXPECT_TRUE(is_told(down));
  set_up("tp0");
  EXPECT_TRUE(is_told(up));
  set_up("tp0", false);
  set_up("tp0");
  ASSERT_TRUE(turn_until([&] { return states.size() == 4; }));
  device.close();
  EXPECT_TRUE(is_told(deleted));
  EXPECT_THAT(states, ElementsAre(down, up, down, up, down, carrier_lost, deleted))
      << "the kernel sets it down first";
}

TEST_P(KernelLinkWatch, TellsNothingOfOtherChangesAndOtherInterfaces) {
  set_up("tp0");
  LinkWatch watch{reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(up));
  const Device other = Device::open(DeviceKind::tap, "tp1");
  set_up("tp1");
  set_up("tp1", false);
  links.set_mac("tp0", "02:00:00:00:00:07");
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_THAT(states, ElementsAre(up));
}

TEST_P(KernelLinkWatch, OutlivesALossOfMessages) {
  set_up("tp0");
  LinkWatch watch{reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(up));
  constexpr int flaps = 300;  // more than the socket's buffer holds
  for (int i = 0; i < flaps; ++i) {
    links.set_up("tp0", false);
    links.set_up("tp0", true);
  }
  ASSERT_TRUE(is_told(up));
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_EQ(states.back(), up);
  EXPECT_LT(states.size(), 2U * flaps) << "nothing was lost: the test needs more changes";
  set_up("tp0", false);
  EXPECT_TRUE(is_told(down));
}

TEST_P(KernelLinkWatch, AStateThatALossHidTheEndOfIsToldAgain) {
  set_up("tp0");
  LinkWatch watch{reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(up));
  // The buffer is full of other news when the interface goes down and comes up again.
  for (unsigned i = 0; i < 600; ++i) links.set_mtu("tp0", 1400 + i % 2);
  links.set_up("tp0", false);
  links.set_up("tp0", true);
  const auto ups = [&] { return std::ranges::count(states, up); };
  EXPECT_TRUE(turn_until([&] { return ups() > 1; }));
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_EQ(ups(), 2);
  EXPECT_EQ(std::ranges::count(states, down), 0);
  EXPECT_EQ(last.mtu, 1401U);
}

TEST_P(KernelLinkWatch, TheHandlerMayDestroyIt) {
  std::unique_ptr<LinkWatch> watch;
  int calls = 0;
  watch = std::make_unique<LinkWatch>(reactor(), device.link(), [&](LinkEvent, const LinkInfo&) {
    ++calls;
    watch.reset();
  });
  set_up("tp0");
  EXPECT_TRUE(turn_until([&] { return calls > 0; }));
  set_up("tp0", false);
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_EQ(calls, 1);
}

TEST_P(KernelLinkWatch, AnEndThatALossHidIsToldAllTheSame) {
  set_up("tp0");
  LinkWatch watch{reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(up));
  for (unsigned i = 0; i < 600; ++i) links.set_mtu("tp0", 1400 + i % 2);
  device.close();
  EXPECT_TRUE(is_told(deleted));
  EXPECT_THAT(rest(), is_at_rest());
}

TEST_P(KernelLinkWatch, FollowsARename) {
  LinkWatch watch{reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(down));
  ASSERT_EQ(run({"ip", "link", "set", "tp0", "name", "tp7"}).status, 0);
  const Device namesake = Device::open(DeviceKind::tap, "tp0");
  set_up("tp0");
  set_up("tp7");
  EXPECT_TRUE(is_told(up));
  set_up("tp0", false);
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_THAT(states, ElementsAre(down, renamed, up));
  EXPECT_EQ(last.name, "tp7");
}

TEST_P(KernelLinkWatch, WatchesInTheNamespaceOfTheInterface) {
  std::optional<UniqueFd> other;
  std::thread{[&] {
    if (::unshare(CLONE_NEWNET) == 0) other = current_namespace();
  }}.join();
  ASSERT_TRUE(other);
  std::optional<LinkWatch> first{std::in_place, reactor(), device.link(), remember()};
  ASSERT_TRUE(is_told(down));
  links.move_to_namespace("tp0", other->get());
  EXPECT_TRUE(is_told(moved));
  first.reset();
  const Device namesake = Device::open(DeviceKind::tap, "tp0");
  Device there;
  in_namespace(other->get(), [&] { there = Device::open(DeviceKind::tap, "tp1"); });
  states.clear();
  LinkWatch second{reactor(), there.link(), remember()};
  ASSERT_TRUE(is_told(down));
  there.link().set_up(true);
  EXPECT_TRUE(is_told(up));
  set_up("tp0");
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_THAT(states, ElementsAre(down, up));
}

TEST_P(KernelLinkWatch, APortFollowsARenameAndAMove) {
  std::optional<UniqueFd> other;
  std::thread{[&] {
    if (::unshare(CLONE_NEWNET) == 0) other = current_namespace();
  }}.join();
  ASSERT_TRUE(other);
  device.close();
  TuntapPort port{reactor(), DeviceKind::tap, "tp0", PortOptions{}};
  port.on_link_changed(remember());
  port.start_listening();
  EXPECT_THAT(rest(), is_at_rest());
  ASSERT_EQ(run({"ip", "link", "set", "tp0", "name", "tp7"}).status, 0);
  ASSERT_TRUE(is_told(renamed));
  EXPECT_EQ(port.get_host().name, "tp7");
  links.move_to_namespace("tp7", other->get());
  ASSERT_TRUE(is_told(moved));
  EXPECT_THAT(rest(), is_at_rest());
  port.device().link().set_up(true);
  EXPECT_TRUE(is_told(up)) << "in the other namespace";
  EXPECT_TRUE(port.listening());
}

TEST_P(KernelLinkWatch, AnInterfaceThatIsGoneIsAnError) {
  const Link link = device.link();
  device.close();
  try {
    const LinkWatch watch{reactor(), link, remember()};
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::no_such_device);
    EXPECT_EQ(error.subject(), "tp0");
  }
}

TEST_P(KernelLinkWatch, WithoutADescriptorItSaysSo) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "The sanitizers need descriptors of their own. This test was not run.";
#endif
  const Link link = device.link();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const UniqueFd next{::dup(0)};
  const rlimit none{static_cast<rlim_t>(next.get()), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  try {
    const LinkWatch watch{reactor(), link, remember()};
    ADD_FAILURE() << "there was a descriptor";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errno_code(EMFILE));
    EXPECT_EQ(error.subject(), "tp0");
  }
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

INSTANTIATE_TEST_SUITE_P(On, KernelLinkWatch, testing::Values("Asio", "Poll"),
                         [](const auto& of) { return std::string{of.param}; });

}  // namespace
}  // namespace tunport::sandbox
