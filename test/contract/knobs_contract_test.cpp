/// The knobs of a device: carrier, NAPI, backpressure, size of the virtio header; and a kernel that lacks
/// them.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tunport/base/error.hpp"
#include "tunport/device/device.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

#include "contract/world.hpp"
#include "support/faulty_links.hpp"
#include "support/forwarding_io.hpp"
#include "support/shape.hpp"

namespace tunport::contract {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int backpressure_flag = 0x0080;

Packet datagram(std::uint16_t port) {
  return packets::udp({Ipv4Address{"10.77.0.1"}, port}, {Ipv4Address{"10.77.0.2"}, 42}, "ask");
}

/// A kernel of former times: lacks flags of TUNSETIFF, and a request.
class FormerIo : public test_support::ForwardingIo {
 public:
  using ForwardingIo::ForwardingIo;
  int ioctl(int fd, unsigned long request, void* argument) override {
    if (request == lacks_request) return -EINVAL;
    if (request == TUNSETIFF) {
      auto& flags = static_cast<ifreq*>(argument)->ifr_flags;
      flags = static_cast<short>(flags & ~lacks_flags);
    }
    const int result = ForwardingIo::ioctl(fd, request, argument);
    if (request == TUNGETFEATURES) *static_cast<unsigned*>(argument) &= ~static_cast<unsigned>(lacks_flags);
    return result;
  }
  int lacks_flags = 0;
  unsigned long lacks_request = 0;
};

class Knobs : public Contract {
 protected:
  System system() { return world(); }
};
TUNPORT_IN_BOTH_WORLDS(Knobs);

TEST_P(Knobs, NoCarrierAtOpenUntilItIsSet) {
  Device device = Device::open(DeviceKind::tun, "tp0", {.no_carrier = true}, system());
  EXPECT_FALSE(device.link().info().carrier);
  device.link().set_up(true);
  world().inject("tp0", datagram(1));
  EXPECT_EQ(device.link().info().tx_dropped, 1U);
  Packet buffer(2048);
  EXPECT_EQ(device.read(buffer).error, EAGAIN);
  EXPECT_FALSE(device.link().info().carrier);
  device.set_carrier(true);
  EXPECT_TRUE(device.link().info().carrier);
  // The kernel makes the change known to the link's queue a little later.
  int error = EAGAIN;
  for (int tries = 0; tries < 100 && error == EAGAIN; ++tries) {
    world().inject("tp0", datagram(1));
    error = device.read(buffer).error;
    if (error == EAGAIN) std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(error, 0);
}

TEST_P(Knobs, TheFirstQueueDecidesOnTheCarrier) {
  const DeviceOptions with{.multi_queue = true};
  const DeviceOptions without{.multi_queue = true, .no_carrier = true};
  const Device first = Device::open(DeviceKind::tun, "tp0", with, system());
  const Device second = Device::open(DeviceKind::tun, "tp0", without, system());
  EXPECT_TRUE(first.link().info().carrier);
  const Device other = Device::open(DeviceKind::tun, "tp1", without, system());
  const Device more = Device::open(DeviceKind::tun, "tp1", with, system());
  EXPECT_FALSE(other.link().info().carrier);
}

TEST_P(Knobs, WritesByNapi) {
  Device device = Device::open(DeviceKind::tun, "tp0", {.napi = true}, system());
  EXPECT_TRUE(device.capabilities().napi);
  EXPECT_THAT(to_string(device.capabilities()), HasSubstr(", NAPI"));
  device.link().set_up(true);
  world().listen("tp0");
  EXPECT_EQ(device.write(datagram(1)), 0);
  EXPECT_EQ(world().collect("tp0"), datagram(1));
  device.close();
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, system()).capabilities().napi);
}

TEST_P(Knobs, ADeviceThatIsMadeHasALongerQueue) {
  for (const OpenMode mode : {OpenMode::either, OpenMode::create}) {
    const Device device = Device::open(DeviceKind::tun, "tp0", {.mode = mode}, system());
    EXPECT_EQ(device.link().info().tx_queue_length, default_tx_queue_length);
  }
  const Device tap = Device::open(DeviceKind::tap, "tp%d", {}, system());
  EXPECT_EQ(tap.link().info().tx_queue_length, std::max(default_tx_queue_length, 1000U)) << "as the kernel's";
  const Device queue = Device::open(DeviceKind::tun, "", {.multi_queue = true}, system());
  EXPECT_EQ(queue.link().info().tx_queue_length, default_tx_queue_length);
  queue.link().set_tx_queue_length(100);
  const Device further = Device::open(DeviceKind::tun, queue.name(), {.multi_queue = true}, system());
  EXPECT_EQ(queue.link().info().tx_queue_length, 100U);
  EXPECT_EQ(Device::open(DeviceKind::tun, "tp1", {.netlink = false}, system()).link().info().tx_queue_length,
            500U)
      << "the kernel's own";
}

TEST_P(Knobs, ADeviceThatWasThereKeepsItsQueue) {
  world().prepare("tp0", DeviceKind::tun, std::nullopt, std::nullopt);
  for (const OpenMode mode : {OpenMode::either, OpenMode::attach}) {
    const Device device = Device::open(DeviceKind::tun, "tp0", {.mode = mode}, system());
    EXPECT_EQ(device.link().info().tx_queue_length, 500U);
  }
  const UniqueFd fd = make("tp1", IFF_TUN | IFF_NO_PI);
  const Device adopted = Device::adopt(UniqueFd{::dup(fd.get())}, {}, system());
  EXPECT_EQ(adopted.link().info().tx_queue_length, 500U);
}

TEST(DefaultQueue, ARefusalLeavesTheKernelsOwn) {
  MemorySystem kernel;
  class Refuses : public test_support::FaultyLinks {
   public:
    using FaultyLinks::FaultyLinks;
    void set_tx_queue_length(const std::string&, unsigned, std::error_code& ec) override {
      ++calls;
      ec = Errc::not_permitted;
    }
    int calls = 0;
  } links{kernel.links()};
  const Device device = Device::open(DeviceKind::tun, "tun0", {}, {kernel, links});
  EXPECT_EQ(links.calls, 1);
  EXPECT_EQ(kernel.tunnel("tun0").info().tx_queue_length, 500U);
}

TEST_P(Knobs, ASendBufferOfNothingIsRefused) {
  Device device = Device::open(DeviceKind::tun, "tp0", {}, system());
  for (const int bytes : {0, -1}) {
    device.set_send_buffer(bytes, ec);
    EXPECT_EQ(ec, errno_code(EINVAL));
  }
  device.set_send_buffer(1, ec);
  EXPECT_FALSE(ec);
}

TEST_P(Knobs, WhatAKernelLacksIsNamedIfAskedFor) {
  const std::tuple<int, DeviceOptions, Knob> table[] = {
      {IFF_MULTI_QUEUE, {.multi_queue = true}, Knob::multi_queue},
      {IFF_NO_CARRIER, {.no_carrier = true}, Knob::no_carrier},
      {IFF_NAPI, {.napi = true}, Knob::napi},
      {backpressure_flag, {.backpressure = true}, Knob::backpressure},
      {IFF_VNET_HDR, {.virtio_header_size = VirtioHeaderSize::basic}, Knob::virtio_header},
  };
  FormerIo former{io()};
  for (const auto& [flag, options, knob] : table) {
    former.lacks_flags = flag;
    EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", options, {former, links()}, ec));
    EXPECT_EQ(ec, not_supported(knob));
    EXPECT_FALSE(exists("tp0"));
    EXPECT_TRUE(Device::open(DeviceKind::tun, "tp0", {}, {former, links()}, ec)) << "silent if not asked for";
  }
  former.lacks_flags = 0;
  former.lacks_request = TUNSETVNETHDRSZ;
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {.virtio_header_size = VirtioHeaderSize::version1},
                            {former, links()}, ec));
  EXPECT_EQ(ec, not_supported(Knob::virtio_header_size));
  EXPECT_FALSE(exists("tp0"));
  Device device = Device::open(DeviceKind::tun, "tp0", {}, {former, links()});
  former.lacks_request = TUNSETCARRIER;
  device.set_carrier(true, ec);
  EXPECT_EQ(ec, not_supported(Knob::carrier));
  former.lacks_request = TUNSETSNDBUF;
  device.set_send_buffer(1, ec);
  EXPECT_EQ(ec, not_supported(Knob::send_buffer));
}

// Linux 7.3 has it; the fake kernel and the real one of these tests are of 6.18 or so.
TEST_P(Knobs, BackpressureIsAskedForWhereTheKernelHasIt) {
  unsigned known = 0;
  ASSERT_EQ(io().ioctl(clone().get(), TUNGETFEATURES, &known), 0);
  const bool knows = (known & backpressure_flag) != 0;
  EXPECT_EQ(Device::open(DeviceKind::tun, "tp0", {}, system()).capabilities().backpressure, knows);
  EXPECT_FALSE(
      Device::open(DeviceKind::tun, "tp0", {.backpressure = false}, system()).capabilities().backpressure);
  const Device asked = Device::open(DeviceKind::tun, "tp0", {.backpressure = true}, system(), ec);
  EXPECT_EQ(static_cast<bool>(asked), knows);
  EXPECT_EQ(ec, knows ? std::error_code{} : not_supported(Knob::backpressure));
}

TEST(Backpressure, OfALaterKernelLosesNothing) {
  MemorySystem kernel;
  kernel.set_knows(backpressure_flag, true);
  Device device = Device::open(DeviceKind::tun, "tun0", {}, kernel);
  EXPECT_TRUE(device.capabilities().backpressure);
  EXPECT_THAT(to_string(device.capabilities()), HasSubstr(", backpressure"));
  auto tunnel = kernel.tunnel("tun0");
  tunnel.set_up(true);
  tunnel.set_tx_queue_length(2);
  EXPECT_TRUE(tunnel.inject(datagram(1)));
  EXPECT_TRUE(tunnel.inject(datagram(1)));
  EXPECT_FALSE(tunnel.inject(datagram(1)));
  EXPECT_EQ(tunnel.info().tx_dropped, 0U);
  Packet buffer(100);
  EXPECT_EQ(device.read(buffer).error, 0);
  EXPECT_TRUE(tunnel.inject(datagram(1)));
  device.close();
  device = Device::open(DeviceKind::tun, "tun0", {.backpressure = false}, kernel);
  EXPECT_FALSE(device.capabilities().backpressure);
}

TEST_P(Knobs, AVirtioHeaderOfAnotherSizeIsRefused) {
  for (const std::size_t bytes : {0U, 9U, 11U, 16U, 64U}) {
    EXPECT_EQ(virtio_header_size(bytes), std::nullopt);
    EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0",
                              {.virtio_header_size = static_cast<VirtioHeaderSize>(bytes)}, system(), ec));
    EXPECT_EQ(ec, Errc::invalid_header_size);
    EXPECT_FALSE(exists("tp0"));
  }
}

TEST_P(Knobs, TheVirtioHeaderOfOtherQueuesIsLeftAlone) {
  for (const bool netlink : {true, false}) {
    DeviceOptions options{.multi_queue = true, .netlink = netlink};
    options.mode = OpenMode::create;
    options.virtio_header_size = VirtioHeaderSize::version1;
    Device first = Device::open(DeviceKind::tun, "tp0", options, system());
    EXPECT_EQ(first.capabilities().virtio_header_size(), 12U);
    options.mode = OpenMode::attach;
    const Device same = Device::open(DeviceKind::tun, "tp0", options, system());
    EXPECT_EQ(same.capabilities().virtio_header_size(), 12U);
    options.virtio_header_size = VirtioHeaderSize::tunnel;
    EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", options, system(), ec));
    EXPECT_EQ(ec, Errc::header_size_in_use);
    EXPECT_EQ(Device::adopt(first.release(), {}, system()).capabilities().virtio_header_size(), 12U);
  }
  const Device without = Device::open(DeviceKind::tun, "tp1", {.multi_queue = true}, system());
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp1",
                            {.multi_queue = true, .virtio_header_size = VirtioHeaderSize::basic}, system(),
                            ec));
  EXPECT_EQ(ec, Errc::header_size_in_use);
}

TEST_P(Knobs, TheVirtioHeaderOfAPersistentDeviceKeepsItsSize) {
  Device device =
      Device::open(DeviceKind::tap, "tp0", {.virtio_header_size = VirtioHeaderSize::hash}, system());
  device.set_persistent(true);
  device.close();
  device = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()}, system());
  EXPECT_EQ(device.capabilities().virtio_header_size(), 20U) << "as read back";
  device.close();
  device = Device::open(DeviceKind::tap, "tp0", {.virtio_header_size = VirtioHeaderSize::basic}, system());
  EXPECT_EQ(device.capabilities().virtio_header_size(), 10U);
  device.set_persistent(false);
}

/// Keeps what comes.
class Keeps : public IpPacketProtocol {
 public:
  void frame_received(const tunport::Packet& packet) override {
    received.push_back({{packet.bytes().begin(), packet.bytes().end()}, {}});
    super_packets += packet.is_super_packet() ? 1 : 0;
  }
  bool accepts_super_packets() const override { return true; }
  std::vector<WrittenPacket> received;
  int super_packets = 0;
};

/// Watches what is written.
class WatchedIo : public test_support::ForwardingIo {
 public:
  using ForwardingIo::ForwardingIo;
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    const iovec part{const_cast<void*>(buffer), size};
    note({&part, 1});
    return ForwardingIo::write(fd, buffer, size);
  }
  ssize_t writev(int fd, std::span<const iovec> parts) override {
    note(parts);
    return ForwardingIo::writev(fd, parts);
  }
  std::vector<Packet> written;

 private:
  void note(std::span<const iovec> parts) {
    Packet bytes;
    for (const iovec& part : parts) {
      const auto* const begin = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), begin, begin + part.iov_len);
    }
    written.push_back(std::move(bytes));
  }
};

TEST_P(Knobs, EachSizeOfTheVirtioHeaderThroughAPort) {
  for (const VirtioHeaderSize size : {VirtioHeaderSize::basic, VirtioHeaderSize::version1,
                                      VirtioHeaderSize::hash, VirtioHeaderSize::tunnel}) {
    const auto bytes = static_cast<std::size_t>(size);
    SCOPED_TRACE(bytes);
    EXPECT_EQ(virtio_header_size(bytes), size);
    WatchedIo watched{io()};
    PollReactor reactor;
    Keeps protocol;
    TuntapPort port{
        reactor,
        "tp0",
        protocol,
        {.device = {.virtio_header_size = size}, .interface = {.up = true}, .system = {watched, links()}}};
    port.start_listening();
    ASSERT_EQ(port.device().capabilities().virtio_header_size(), bytes);
    world().listen("tp0");

    const shapes::Shape shape{.protocol = ip_protocol::tcp, .kind = DeviceKind::tun};
    const Packet super = shapes::super_packet(shape, Packet(3000, std::byte{0x5a}));
    world().inject("tp0", datagram(1));
    world().inject("tp0", super, shapes::offload_of(shape, 1000));
    for (int turns = 0; turns < 100 && protocol.received.size() < 2; ++turns) reactor.run_once(20ms);
    ASSERT_EQ(protocol.received.size(), 2U);
    EXPECT_EQ(protocol.received[0].bytes, datagram(1));
    EXPECT_EQ(protocol.received[1].bytes.size(), super.size());
    EXPECT_EQ(protocol.super_packets, 1);

    EXPECT_TRUE(port.write(datagram(2)));
    EXPECT_EQ(world().collect("tp0"), datagram(2));
    ASSERT_EQ(watched.written.size(), 1U);
    const Packet& framed = watched.written[0];
    ASSERT_EQ(framed.size(), bytes + datagram(2).size());
    EXPECT_TRUE(std::all_of(framed.begin() + 10, framed.begin() + static_cast<std::ptrdiff_t>(bytes),
                            [](std::byte byte) { return byte == std::byte{0}; }));
    {
      const Cork cork{reactor};  // the segments of a flow become a super-packet
      for (const Packet& segment : shapes::segments(shape, Packet(3000), 1000)) port.write(segment);
    }
    const auto joined = world().collect_packet("tp0");
    ASSERT_TRUE(joined);
    EXPECT_TRUE(joined->offload.is_super_packet());
    port.stop_listening();
    reactor.run_once(0ms);
  }
}

}  // namespace
}  // namespace tunport::contract
