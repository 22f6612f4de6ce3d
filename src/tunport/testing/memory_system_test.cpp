#include "tunport/testing/memory_system.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "tunport/device/device.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_offload_internal.hpp"

#include "support/probe.hpp"
#include "support/shape.hpp"

// Tests of the fake alone. test/contract tests the fake and the kernel.

namespace tunport {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Packet = std::vector<std::byte>;

Packet packet(std::size_t size, std::uint8_t fill = 0) {
  Packet bytes(size, std::byte{fill});
  bytes[0] = std::byte{0x45};
  return bytes;
}

class MemorySystemTest : public ::testing::Test {
 protected:
  /// Opens a TUN device, and sets the interface up.
  Device open(const std::string& name = "tp0", const DeviceOptions& options = {}) {
    Device device = Device::open(DeviceKind::tun, name, options, kernel);
    kernel.tunnel(device.name()).set_up(true);
    return device;
  }
  ReadResult read(Device& device) { return device.read(buffer); }
  static short ready(const Device& device, short events) {
    pollfd entry{device.fileno(), events, 0};
    ::poll(&entry, 1, 0);
    return entry.revents;
  }

  MemorySystem kernel;
  std::array<std::byte, 2048> buffer{};
  std::error_code ec;
};

TEST_F(MemorySystemTest, InjectAndCollect) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  EXPECT_TRUE(tunnel.inject(packet(40, 1)));
  EXPECT_TRUE(tunnel.inject(packet(50, 2)));
  EXPECT_EQ(tunnel.waiting(), 2U);
  EXPECT_EQ(read(device).size, 40U);
  EXPECT_EQ(tunnel.waiting(), 1U);
  EXPECT_EQ(device.write(packet(60, 3)), 0);
  EXPECT_EQ(device.write(packet(70, 4)), 0);
  EXPECT_THAT(tunnel.collect(), ElementsAre(packet(60, 3), packet(70, 4)));
  EXPECT_THAT(tunnel.collect(), IsEmpty());
}

TEST_F(MemorySystemTest, FramingStaysWithTheDescriptor) {
  Device device = open("tp0", {.packet_information = true});
  auto tunnel = kernel.tunnel("tp0");
  tunnel.inject(packet(40, 1));
  EXPECT_EQ(read(device).size, 40U);
  EXPECT_EQ(device.write(packet(60, 3)), 0);
  EXPECT_THAT(tunnel.collect(), ElementsAre(packet(60, 3)));
}

TEST_F(MemorySystemTest, InjectTellsOfDrops) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  tunnel.set_tx_queue_length(2);
  EXPECT_TRUE(tunnel.inject(packet(40)));
  EXPECT_TRUE(tunnel.inject(packet(40)));
  EXPECT_FALSE(tunnel.inject(packet(40))) << "the ring is full";
  EXPECT_EQ(tunnel.info().tx_dropped, 1U);
  tunnel.set_up(false);
  EXPECT_FALSE(tunnel.inject(packet(40))) << "down";
  EXPECT_EQ(tunnel.info().tx_dropped, 1U);
}

TEST_F(MemorySystemTest, AHandleStaysGoodWhenTheDeviceGoes) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  EXPECT_TRUE(tunnel.attached());
  EXPECT_EQ(device.write(packet(40)), 0);
  device.close();
  EXPECT_FALSE(tunnel.attached());
  EXPECT_TRUE(tunnel.removed());
  EXPECT_THROW(kernel.tunnel("tp0"), std::out_of_range);
  EXPECT_FALSE(tunnel.inject(packet(40)));
  EXPECT_THAT(tunnel.collect(), SizeIs(1)) << "what was written is still there";
  tunnel.remove();
  EXPECT_EQ(tunnel.name(), "tp0");
}

TEST_F(MemorySystemTest, OnlyTunnelsHaveAHandle) {
  EXPECT_THROW(kernel.tunnel("lo"), std::out_of_range);
  EXPECT_THROW(kernel.tunnel("nobody"), std::out_of_range);
}

TEST_F(MemorySystemTest, PreparedDevices) {
  auto tunnel = kernel.add_persistent(DeviceKind::tun, "tp0", {.owner = 1000, .up = true});
  EXPECT_FALSE(tunnel.attached());
  EXPECT_TRUE(tunnel.up());
  EXPECT_THROW(kernel.add_persistent(DeviceKind::tun, "tp0"), Error);
  EXPECT_THROW(kernel.add_persistent(DeviceKind::tun, "a/b"), Error);
  kernel.set_privileged(false);
  kernel.set_user(1, 1);
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
  EXPECT_EQ(ec, Errc::not_permitted);
  kernel.set_user(1000, 1000);
  Device device = Device::open(DeviceKind::tun, "tp0", {.mode = OpenMode::attach}, kernel);
  EXPECT_TRUE(tunnel.attached());
  EXPECT_EQ(device.write(packet(40)), 0);
  device.close();
  EXPECT_FALSE(tunnel.removed());
}

TEST_F(MemorySystemTest, PreparedMultiQueue) {
  kernel.add_persistent(DeviceKind::tap, "tp0", {.group = 5, .multi_queue = true});
  EXPECT_FALSE(Device::open(DeviceKind::tap, "tp0", {}, kernel, ec));
  EXPECT_EQ(ec, Errc::multi_queue_mismatch);
  const Device one = Device::open(DeviceKind::tap, "tp0", {.multi_queue = true}, kernel);
  const Device two = Device::open(DeviceKind::tap, "tp0", {.multi_queue = true}, kernel);
  EXPECT_EQ(kernel.tunnel("tp0").info().tunnel->group, 5U);
}

TEST_F(MemorySystemTest, TheCloneDeviceMayBeMissingOrDenied) {
  for (const auto& [error, expected] :
       {std::pair{ENOENT, Errc::no_driver}, {ENODEV, Errc::no_driver}, {EACCES, Errc::clone_device_denied}}) {
    kernel.set_clone_error(error);
    EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
    EXPECT_EQ(ec, expected);
  }
  kernel.set_clone_error(0);
  EXPECT_TRUE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
}

TEST_F(MemorySystemTest, NothingBlocks) {
  Device device = open("tp0");
  ASSERT_EQ(static_cast<IoSystem&>(kernel).set_flags(device.fileno(), O_RDWR, false), 0);
  EXPECT_EQ(read(device).error, EDEADLK);
  kernel.tunnel("tp0").set_writable(false);
  EXPECT_EQ(device.write(packet(40)), EDEADLK);
}

TEST_F(MemorySystemTest, ABlockingDeviceWaitsUntilItIsCancelled) {
  Device device = open("tp0", {.blocking = true});
  auto tunnel = kernel.tunnel("tp0");
  ASSERT_TRUE(tunnel.inject(packet(40)));
  EXPECT_EQ(read(device).size, 40U);
  tunnel.set_writable(false);
  device.cancel();
  EXPECT_EQ(read(device).error, ECANCELED);
  EXPECT_EQ(device.write(packet(40)), ECANCELED);
}

TEST_F(MemorySystemTest, ABlockingReaderEndsWhenTheDeviceIsClosed) {
  Device device = open("tp0", {.blocking = true});
  std::thread closer{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    device.close();
  }};
  EXPECT_EQ(read(device).error, ECANCELED);
  closer.join();
  EXPECT_FALSE(device);
}

TEST_F(MemorySystemTest, HasNoNetworkNamespaces) {
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {.network_namespace = "/proc/self/ns/net"}, kernel, ec));
  EXPECT_EQ(ec, Errc::no_namespaces);
}

TEST_F(MemorySystemTest, AFullSendBuffer) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  tunnel.set_writable(false);
  EXPECT_EQ(device.write(packet(40)), EAGAIN);
  EXPECT_EQ(ready(device, POLLOUT), 0);
  tunnel.set_up(false);
  tunnel.set_up(true);
  EXPECT_EQ(ready(device, POLLOUT), 0) << "still full";
  tunnel.set_writable(true);
  EXPECT_EQ(ready(device, POLLOUT), POLLOUT);
  EXPECT_EQ(device.write(packet(40)), 0);
}

TEST_F(MemorySystemTest, ABoundedSendBufferEmptiesByCollecting) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  device.set_send_buffer(1000, ec);
  EXPECT_EQ(device.write(packet(499)), 0);
  EXPECT_EQ(ready(device, POLLOUT), POLLOUT);
  EXPECT_EQ(device.write(packet(600)), 0);
  EXPECT_EQ(ready(device, POLLOUT), 0);
  EXPECT_EQ(device.write(packet(20)), EAGAIN);
  EXPECT_THAT(tunnel.collect(), SizeIs(2));
  EXPECT_EQ(ready(device, POLLOUT), POLLOUT);
  EXPECT_EQ(device.write(packet(20)), 0);
}

TEST_F(MemorySystemTest, PlannedFailuresHaveNoEffect) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  tunnel.inject(packet(40));
  kernel.fail_next(Call::read, EINTR, 2);
  EXPECT_EQ(read(device).error, EINTR);
  EXPECT_EQ(read(device).error, EINTR);
  EXPECT_EQ(read(device).size, 40U) << "the packet was not taken";
  kernel.fail_next(Call::write, ENOBUFS);
  kernel.fail_next(Call::write, EAGAIN);
  EXPECT_EQ(device.write(packet(40)), ENOBUFS);
  EXPECT_EQ(device.write(packet(40)), EAGAIN) << "one plan after the other";
  EXPECT_EQ(device.write(packet(40)), 0);
  EXPECT_THAT(tunnel.collect(), SizeIs(1));
  kernel.fail_next(Call::write, EIO, 0);
  EXPECT_EQ(device.write(packet(40)), 0);
}

TEST_F(MemorySystemTest, PlannedFailuresOfOpening) {
  kernel.fail_next(Call::open, EMFILE);
  EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
  EXPECT_EQ(ec, errno_code(EMFILE));
  for (const unsigned long request : {TUNSETIFF, TUNGETIFF, TUNSETOFFLOAD}) {
    kernel.fail_next_ioctl(request, ENOMEM);
    EXPECT_FALSE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
    EXPECT_EQ(ec, errno_code(ENOMEM));
    EXPECT_THROW(kernel.tunnel("tp0"), std::out_of_range) << "nothing is left";
  }
  EXPECT_TRUE(Device::open(DeviceKind::tun, "tp0", {}, kernel, ec));
}

TEST_F(MemorySystemTest, PlannedFailuresOfSockets) {
  kernel.fail_next(Call::socket, ENFILE);
  EXPECT_EQ(kernel.socket(AF_INET, SOCK_DGRAM, 0), -ENFILE);
  const UniqueFd fd{kernel.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)};
  msghdr message{};
  for (const int error : {EINTR, ENOMEM}) {
    kernel.fail_next(Call::recvmsg, error);
    EXPECT_EQ(kernel.recvmsg(fd.get(), &message, 0), -error);
    kernel.fail_next(Call::sendmsg, error);
    EXPECT_EQ(kernel.sendmsg(fd.get(), &message, 0), -error);
  }
  kernel.fail_next(Call::bind, EACCES);
  EXPECT_EQ(kernel.bind(fd.get(), nullptr, 0), -EACCES);
  kernel.fail_next(Call::sockopt, EPERM);
  EXPECT_EQ(kernel.setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, nullptr, 0), -EPERM);
  kernel.fail_next(Call::fcntl, EINVAL);
  EXPECT_EQ(kernel.get_flags(fd.get()), -EINVAL);
}

TEST_F(MemorySystemTest, TheOffloadMaskCanBeSeen) {
  const Device device = open();
  EXPECT_EQ(kernel.ioctl_value(device.fileno(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4), 0);
  EXPECT_EQ(kernel.tunnel("tp0").offload(), static_cast<unsigned long>(TUN_F_CSUM | TUN_F_TSO4));
}

TEST_F(MemorySystemTest, WhatWasWrittenCanBeSeenInThreeWays) {
  Device device = open("tp0", {.offload = OffloadFeatures::all()});
  auto tunnel = kernel.tunnel("tp0");
  const shapes::Shape shape{};
  const Packet payload = shapes::some_bytes(250);
  const Packet super_packet = shapes::super_packet(shape, payload);
  const PacketOffload left = shapes::offload_of(shape, 100);
  const auto write_both = [&] {
    Packet framed(10);
    MemoryVirtioHeader::of(left).store(framed, std::endian::native);
    framed.insert(framed.end(), super_packet.begin(), super_packet.end());
    EXPECT_EQ(device.write_framed(Bytes{framed}), 0);
    EXPECT_EQ(device.write(packet(60, 3)), 0);
  };
  write_both();
  EXPECT_THAT(tunnel.collect(), ElementsAre(super_packet, packet(60, 3)));
  write_both();
  const auto packets = tunnel.collect_packets();
  ASSERT_THAT(packets, SizeIs(2));
  EXPECT_EQ(packets[0].bytes, super_packet);
  EXPECT_EQ(packets[0].offload, left);
  EXPECT_EQ(packets[1].offload, PacketOffload{});
  write_both();
  std::vector<Packet> expected = shapes::segments(shape, payload, 100);
  expected.push_back(packet(60, 3));
  EXPECT_EQ(tunnel.collect_datagrams(), expected);
  EXPECT_THAT(tunnel.collect(), IsEmpty());
}

TEST_F(MemorySystemTest, AKernelWithoutUdpSuperPackets) {
  kernel.set_knows_uso(false);
  Device device = open("tp0", {.offload = OffloadFeatures::all()});
  OffloadFeatures expected = OffloadFeatures::all();
  expected.uso = false;
  EXPECT_EQ(device.capabilities().offload, expected);
  const shapes::Shape shape{.protocol = ip_protocol::udp};
  const Packet payload = shapes::some_bytes(250);
  auto tunnel = kernel.tunnel("tp0");
  EXPECT_TRUE(tunnel.inject(shapes::super_packet(shape, payload), shapes::offload_of(shape, 100)));
  EXPECT_EQ(tunnel.waiting(), 3U) << "segmented by the kernel";
  Packet framed(10);
  MemoryVirtioHeader::of(shapes::offload_of(shape, 100)).store(framed, std::endian::native);
  const Packet super_packet = shapes::super_packet(shape, payload);
  framed.insert(framed.end(), super_packet.begin(), super_packet.end());
  EXPECT_EQ(device.write_framed(Bytes{framed}), EINVAL);
}

TEST_F(MemorySystemTest, AKindThatIsRefusedThoughItWasGranted) {
  Device device = open("tp0", {.offload = OffloadFeatures::all()});
  auto tunnel = kernel.tunnel("tp0");
  const auto write = [&](const shapes::Shape& shape) {
    Packet framed(10);
    MemoryVirtioHeader::of(shapes::offload_of(shape, 100)).store(framed, std::endian::native);
    const Packet super_packet = shapes::super_packet(shape, shapes::some_bytes(250));
    framed.insert(framed.end(), super_packet.begin(), super_packet.end());
    return device.write_framed(Bytes{framed});
  };
  tunnel.refuse_super_packets(SegmentKind::tcp4);
  EXPECT_EQ(write({}), EINVAL);
  EXPECT_EQ(write({.v6 = true}), 0);
  EXPECT_EQ(write({.protocol = ip_protocol::udp}), 0);
  tunnel.refuse_super_packets(SegmentKind::none);
  EXPECT_EQ(device.write(packet(60)), 0) << "single datagrams are never refused";
  tunnel.refuse_super_packets(SegmentKind::tcp4, false);
  EXPECT_EQ(write({}), 0);
}

TEST_F(MemorySystemTest, ASuperPacketThatIsNoneIsDropped) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  EXPECT_FALSE(tunnel.inject(packet(400), shapes::offload_of({}, 100)));
  const Packet tcp = shapes::super_packet({}, shapes::some_bytes(250));
  EXPECT_FALSE(tunnel.inject(tcp, shapes::offload_of({.protocol = ip_protocol::udp}, 100)));
  EXPECT_FALSE(tunnel.inject(tcp, shapes::offload_of({.v6 = true}, 100)));
  EXPECT_EQ(tunnel.info().tx_dropped, 3U);
  EXPECT_EQ(tunnel.waiting(), 0U);
  tunnel.set_tx_queue_length(2);
  EXPECT_FALSE(tunnel.inject(tcp, shapes::offload_of({}, 100))) << "two of three";
  EXPECT_EQ(tunnel.waiting(), 2U);
}

TEST_F(MemorySystemTest, ADescriptorThatMovedIsFound) {
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  UniqueFd original = device.release();
  UniqueFd moved{::fcntl(original.get(), F_DUPFD_CLOEXEC, 100)};
  original.reset();
  // The readiness follows a new number, also before the first call with the number.
  tunnel.set_up(false);
  pollfd entry{moved.get(), POLLOUT, 0};
  ::poll(&entry, 1, 0);
  EXPECT_EQ(entry.revents, 0);
  const Device again = Device::adopt(std::move(moved), {}, kernel);
  EXPECT_EQ(again.name(), "tp0");
}

TEST_F(MemorySystemTest, AManualReactorHearsOfIt) {
  ManualReactor clock;
  Device device = open();
  auto tunnel = kernel.tunnel("tp0");
  Probe probe{clock, device.fileno()};
  int packets = 0;
  probe.on_read = [&] {
    while (read(device).error == 0) ++packets;
  };
  probe.on_write = [&] { probe.stop_writing(); };
  probe.on_error = [&] { probe.detach(); };
  probe.start_reading();
  for (int i = 0; i < 3; ++i) tunnel.inject(packet(40));
  clock.run_ready();
  EXPECT_EQ(packets, 3);
  tunnel.set_up(false);
  probe.start_writing();
  EXPECT_EQ(clock.run_ready(), 0U);
  tunnel.set_up(true);
  clock.run_ready();
  EXPECT_EQ(probe.writes, 1);
  probe.stop_reading();
  tunnel.remove();
  clock.run_ready();
  EXPECT_EQ(probe.errors, 1);
}

}  // namespace
}  // namespace tunport
