// Ports on the queues of one interface.
#include "tunport/device/queues.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::SizeIs;

class PortQueues : public SuperPackets {
 protected:
  ~PortQueues() override { ports.clear(); }
  TuntapPort& add(Device device, const PortOptions& options) {
    protocols.push_back(std::make_unique<Accepter>());
    ports.push_back(std::make_unique<TuntapPort>(clock, std::move(device), *protocols.back(), options));
    return *ports.back();
  }
  /// A port on each queue of tun0.
  void start_queues(std::size_t count, const PortOptions& options) {
    for (Device& device : open_queues(DeviceKind::tun, "tun0", count, {.offload = options.offload}, kernel)) {
      add(std::move(device), options).start_listening();
    }
    interface().set_up(true);
  }
  Packets write_a_flow(TuntapPort& from, const shapes::Shape& shape) {
    const Packets datagrams = shapes::segments(shape, shapes::some_bytes(300), 100);
    {
      const Cork cork{clock};
      for (const Buffer& datagram : datagrams) from.write(datagram);
    }
    return datagrams;
  }
  std::vector<std::unique_ptr<Accepter>> protocols;
  std::vector<std::unique_ptr<TuntapPort>> ports;
};

TEST_F(PortQueues, TheMaskIsLeftAsItIs) {
  start_queues(2, {.system = kernel});
  const unsigned long mask = interface().offload();
  EXPECT_NE(mask, 0U);
  ports[1]->stop_listening();
  clock.run_ready();
  auto queues = open_queues(DeviceKind::tun, "tun0", 1, {.offload = OffloadFeatures::all()}, kernel);
  TuntapPort& third = add(std::move(queues[0]), {.offload = {}, .system = kernel});
  third.start_listening();
  EXPECT_EQ(interface().offload(), mask) << "the first port's too";
  EXPECT_TRUE(third.device().capabilities().offload.tso4);
}

TEST_F(PortQueues, ARestartedPortIsAQueueAgain) {
  start_queues(2, {.system = kernel});
  const unsigned long mask = interface().offload();
  ports[0]->stop_listening();
  clock.run_ready();
  EXPECT_EQ(kernel.links().find("tun0").tunnel->queues, 1U);
  ports[0]->start_listening();
  EXPECT_EQ(kernel.links().find("tun0").tunnel->queues, 2U);
  EXPECT_EQ(interface().offload(), mask);
}

TEST_F(PortQueues, ADemotionIsThePortsOwn) {
  set_log_sink([](LogLevel, std::string_view, std::string_view) {});
  start_queues(2, {.system = kernel});
  const unsigned long mask = interface().offload();
  interface().refuse_super_packets(SegmentKind::udp);
  const Packets datagrams = write_a_flow(*ports[0], udp4);
  EXPECT_EQ(interface().collect(), datagrams);
  interface().refuse_super_packets(SegmentKind::udp, false);
  EXPECT_EQ(interface().offload(), mask) << "what the kernel may leave is as before, for both";
  write_a_flow(*ports[0], udp4);
  EXPECT_EQ(interface().collect(), datagrams);
  write_a_flow(*ports[1], udp4);
  EXPECT_THAT(interface().collect(), SizeIs(1)) << "whole";
  set_log_sink({});
}

TEST_F(PortQueues, OnePortHasTheSettings) {
  auto queues = open_queues(DeviceKind::tun, "tun0", 2, {}, kernel);
  const InterfaceOptions settings{.addresses = {"10.0.0.1/24"}, .mtu = 1400, .up = true};
  add(std::move(queues[0]), {.interface = settings, .system = kernel}).start_listening();
  add(std::move(queues[1]), {.system = kernel}).start_listening();
  ports[1]->stop_listening();
  clock.run_ready();
  EXPECT_EQ(kernel.links().find("tun0").mtu, 1400U);
  EXPECT_TRUE(kernel.links().find("tun0").up);
}

}  // namespace
}  // namespace tunport
