/// The events of interfaces, and of ports on them.

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/event/link_watch.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"

#include "contract/world.hpp"

namespace tunport::contract {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using enum LinkEvent;

IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }

class LinkEvents : public Contract {
 protected:
  /// Turns the loop until `done`.
  bool turn_until(const std::function<bool()>& done) {
    for (int turns = 0; turns < 2000 && !done(); ++turns) {
      clock.run_ready();
      if (!done()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return done();
  }
  std::vector<LinkEvent> take(std::size_t count) {
    EXPECT_TRUE(turn_until([&] { return events.size() >= count; })) << testing::PrintToString(events);
    clock.run_ready();
    return std::exchange(events, {});
  }
  LinkWatch::Handler record() {
    return [this](LinkEvent event, const LinkInfo& link) {
      events.push_back(event);
      now = link;
    };
  }

  ManualReactor clock;
  std::vector<LinkEvent> events;
  LinkInfo now;
};
TUNPORT_IN_BOTH_WORLDS(LinkEvents);

TEST_P(LinkEvents, EachIsToldWithTheStateAfterwards) {
  const Device device = Device::open(DeviceKind::tap, "tp0", {}, world());
  const LinkWatch watch{clock, device.link(), record()};
  EXPECT_THAT(events, IsEmpty()) << "the reactor tells";
  EXPECT_THAT(take(1), ElementsAre(down));
  EXPECT_TRUE(now.carrier);
  device.link().set_up(true);
  EXPECT_THAT(take(1), ElementsAre(up));
  EXPECT_TRUE(now.up);
  device.link().set_mtu(1400);
  EXPECT_THAT(take(1), ElementsAre(mtu_changed));
  EXPECT_EQ(now.mtu, 1400U);
  device.link().add_address(prefix("10.0.0.1/24"));
  EXPECT_THAT(take(1), ElementsAre(addresses_changed));
  device.link().remove_address(prefix("10.0.0.1/24"));
  EXPECT_THAT(take(1), ElementsAre(addresses_changed));
  device.link().set_mac("02:00:00:00:00:07");
  device.link().set_up(false);
  EXPECT_THAT(take(1), ElementsAre(down)) << "a MAC address is no event";
  EXPECT_FALSE(now.up);
}

TEST_P(LinkEvents, TheCarrierIsThePrograms) {
  Device device = Device::open(DeviceKind::tun, "tp0", {}, world());
  const LinkWatch watch{clock, device.link(), record()};
  device.link().set_up(true);
  EXPECT_TRUE(turn_until([&] { return !events.empty() && events.back() == up; }));
  events.clear();
  device.set_carrier(false);
  EXPECT_THAT(take(1), ElementsAre(carrier_lost));
  EXPECT_FALSE(now.carrier);
  EXPECT_TRUE(now.up);
  device.set_carrier(true);
  EXPECT_THAT(take(1), ElementsAre(carrier_found));
  EXPECT_TRUE(now.carrier);
}

TEST_P(LinkEvents, ADeletedInterfaceIsDownFirst) {
  Device device = Device::open(DeviceKind::tun, "tp0", {}, world());
  device.link().set_up(true);
  device.link().add_address(prefix("10.0.0.1/24"));
  const LinkWatch watch{clock, device.link(), record()};
  EXPECT_THAT(take(1), ElementsAre(up));
  links().remove("tp0");
  EXPECT_THAT(take(3), ElementsAre(down, addresses_changed, deleted));
  EXPECT_EQ(now.name, "tp0") << "the last state";
}

TEST_P(LinkEvents, AnotherInterfaceIsNone) {
  const Device device = Device::open(DeviceKind::tun, "tp0", {}, world());
  const Device other = Device::open(DeviceKind::tun, "tp1", {}, world());
  const LinkWatch watch{clock, device.link(), record()};
  EXPECT_THAT(take(1), ElementsAre(down));
  other.link().set_up(true);
  other.link().add_address(prefix("10.0.0.1/24"));
  device.link().set_up(true);
  EXPECT_THAT(take(1), ElementsAre(up));
}

TEST_P(LinkEvents, AMonitorOfAnUnknownInterfaceIsAnError) {
  EXPECT_EQ(links().monitor("tp9", ec), nullptr);
  EXPECT_EQ(ec, Errc::no_such_device);
}

/// Records what a port tells.
class Recorder : public IpPacketProtocol {
 public:
  void frame_received(const tunport::Packet&) override {}
  void link_changed(LinkEvent event, const LinkInfo& link) override {
    events.push_back(event);
    names.push_back(link.name);
    if (on_event) on_event(event);
  }
  std::vector<LinkEvent> events;
  std::vector<std::string> names;
  std::function<void(LinkEvent)> on_event;
};

TEST_P(LinkEvents, APortTellsItsProtocolTheChangesAfterTheStart) {
  Recorder recorder;
  TuntapPort port{clock,
                  DeviceKind::tun,
                  "tp0",
                  recorder,
                  {.interface = {.addresses = {"10.0.0.1/24"}, .up = true}, .system = world()}};
  std::vector<LinkEvent> handled;
  port.on_link_changed([&](LinkEvent event, const LinkInfo&) { handled.push_back(event); });
  port.start_listening();
  clock.run_ready();
  EXPECT_THAT(recorder.events, IsEmpty()) << "up since the start";
  port.device().link().set_mtu(1400);
  EXPECT_TRUE(turn_until([&] { return handled.size() == 1; }));
  EXPECT_EQ(port.mtu(), 1400U) << "at once";
  port.device().link().set_up(false);
  EXPECT_TRUE(turn_until([&] { return handled.size() == 2; }));
  EXPECT_THAT(recorder.events, ElementsAre(mtu_changed, down));
  EXPECT_EQ(handled, recorder.events);
  port.stop_listening();
  clock.run_ready();
  EXPECT_EQ(handled.size(), 2U) << "the port's own end is no event";
  port.start_listening();
  clock.run_ready();
  EXPECT_EQ(handled.size(), 2U);
}

TEST_P(LinkEvents, AHandlerMayStopOrDestroyThePort) {
  Recorder recorder;
  auto port =
      std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tp0", recorder, PortOptions{.system = world()});
  recorder.on_event = [&](LinkEvent) { port->stop_listening(); };
  port->start_listening();
  clock.run_ready();
  port->device().link().set_up(true);
  EXPECT_TRUE(turn_until([&] { return !port->listening(); }));
  recorder.on_event = [&](LinkEvent) { port.reset(); };
  port->start_listening();
  clock.run_ready();
  port->device().link().set_up(true);
  EXPECT_TRUE(turn_until([&] { return port == nullptr; }));
  EXPECT_THAT(recorder.events, ElementsAre(up, up));
}

TEST_P(LinkEvents, NoneIsToldAfterTheEndIsDecided) {
  Recorder recorder;
  TuntapPort port{clock, DeviceKind::tun, "tp0", recorder, {.system = world()}};
  for (const bool is_released : {true, false}) {
    port.start_listening();
    clock.run_ready();
    port.device().link().set_up(true);
    Device released;
    if (is_released)
      released = port.release_device();
    else
      port.stop_listening();
    if (released) released.link().set_up(false);
    clock.run_ready();
    EXPECT_FALSE(port.listening());
  }
  EXPECT_THAT(recorder.events, IsEmpty());
}

TEST_P(LinkEvents, AThrowingProtocolIsCounted) {
  Recorder recorder;
  recorder.on_event = [](LinkEvent) { throw std::runtime_error{"no"}; };
  TuntapPort port{clock, DeviceKind::tun, "tp0", recorder, {.system = world()}};
  port.start_listening();
  clock.run_ready();
  port.device().link().set_up(true);
  EXPECT_TRUE(turn_until([&] { return port.statistics().exceptions == 1; }));
  EXPECT_TRUE(port.listening());
}

TEST_P(LinkEvents, TheRingsDropsAreThePortsToTell) {
  Recorder recorder;
  TuntapPort port{
      clock,
      DeviceKind::tun,
      "tp0",
      recorder,
      {.interface = {.addresses = {"10.0.0.1/24"}, .tx_queue_length = 2, .up = true}, .system = world()}};
  port.start_listening();
  port.pause_producing();
  std::vector<std::byte> packet(28);
  packet[0] = std::byte{0x45};
  EXPECT_EQ(port.kernel_drops(), 0U);
  for (int i = 0; i < 5; ++i) world().inject("tp0", packet);
  EXPECT_EQ(port.kernel_drops(), 3U);
  port.stop_listening();
  clock.run_ready();
  EXPECT_EQ(port.kernel_drops(), 3U) << "the last life's";
  port.start_listening();
  EXPECT_EQ(port.kernel_drops(), 0U);
}

}  // namespace
}  // namespace tunport::contract
