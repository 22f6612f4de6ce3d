#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tunport/device/device.hpp"

#include "kernel/sandbox.hpp"

namespace tunport {
namespace {

using sandbox::make_frame;
using sandbox::make_ipv4;
using sandbox::PacketSocket;
using sandbox::wait_readable;
using sandbox::wait_until;
using ::testing::ElementsAre;
using Buffer = std::vector<std::byte>;

class DeviceIo : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped()) sandbox::disable_ipv6();
  }
  Device open_up(DeviceKind kind, const DeviceOptions& options = {}) {
    Device device = Device::open(kind, "tp0", options);
    links.set_up("tp0", true, ec);
    EXPECT_FALSE(ec) << ec.message();
    return device;
  }
};

/// The bytes of one packet.
Buffer read_one(Device& device) {
  EXPECT_TRUE(wait_readable(device.fileno()));
  Buffer buffer(70'000);
  const ReadResult result = device.read(buffer);
  EXPECT_EQ(result.error, 0);
  EXPECT_FALSE(result.truncated);
  buffer.resize(result.size);
  return buffer;
}

TEST_F(DeviceIo, NothingThere) {
  Device device = open_up(DeviceKind::tap);
  Buffer buffer(100);
  EXPECT_EQ(device.read(buffer).error, EAGAIN);
  EXPECT_EQ(device.read_framed(buffer).error, EAGAIN);
}

TEST_F(DeviceIo, PacketsBothWays) {
  for (const bool packet_information : {false, true})
    for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap}) {
      Device device = open_up(kind, {.packet_information = packet_information});
      SCOPED_TRACE(to_string(device.capabilities()));
      PacketSocket kernel{"tp0"};
      const Buffer packet = kind == DeviceKind::tun ? make_ipv4(200, 7) : make_frame(200, 7);
      ASSERT_EQ(kernel.send(packet), 0);
      EXPECT_EQ(read_one(device), packet);
      EXPECT_EQ(device.write(packet), 0);
      EXPECT_EQ(kernel.receive(), packet);
      const Bytes all{packet};
      const std::array parts{all.first(1), Bytes{}, all.subspan(1, 12), all.subspan(13)};
      EXPECT_EQ(device.write_sequence(parts), 0);
      EXPECT_EQ(kernel.receive(), packet);
    }
}

TEST_F(DeviceIo, BlockingReadWaits) {
  Device device = open_up(DeviceKind::tap, {.blocking = true});
  PacketSocket kernel{"tp0"};
  const Buffer frame = make_frame(60, 1);
  for (const bool framed : {false, true}) {
    std::thread sender{[&] {
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
      kernel.send(frame);
    }};
    Buffer buffer(100);
    const ReadResult result = framed ? device.read_framed(buffer) : device.read(buffer);
    sender.join();
    EXPECT_EQ(result.error, 0);
    buffer.resize(result.size);
    EXPECT_EQ(buffer, frame);
  }
}

TEST_F(DeviceIo, ReadSeesTruncation) {
  for (const bool packet_information : {false, true}) {
    Device device = open_up(DeviceKind::tap, {.packet_information = packet_information});
    PacketSocket kernel{"tp0"};
    for (const std::size_t size : {99U, 100U, 101U, 1000U}) {
      SCOPED_TRACE(size);
      const Buffer frame = make_frame(size, 3);
      const auto as_expected = [&](const ReadResult& result, Bytes buffer) {
        EXPECT_EQ(result.error, 0);
        EXPECT_EQ(result.size, std::min<std::size_t>(size, 100));
        EXPECT_EQ(result.truncated, size > 100);
        EXPECT_TRUE(std::ranges::equal(buffer.first(result.size), Bytes{frame}.first(result.size)));
      };
      const std::size_t framing = device.capabilities().framing;
      Buffer buffer(framing + 101);
      ASSERT_EQ(kernel.send(frame), 0);
      as_expected(device.read(MutableBytes{buffer}.first(100)), buffer);
      ASSERT_EQ(kernel.send(frame), 0);
      as_expected(device.read_framed(buffer), Bytes{buffer}.subspan(framing));
      EXPECT_EQ(device.read(buffer).error, EAGAIN) << "the rest is not another packet";
    }
  }
}

TEST_F(DeviceIo, EmptyBuffer) {
  Device device = open_up(DeviceKind::tap);
  PacketSocket kernel{"tp0"};
  ASSERT_EQ(kernel.send(make_frame(60)), 0);
  EXPECT_EQ(device.read_framed({}).error, EINVAL);
  EXPECT_EQ(read_one(device).size(), 60U) << "and the packet is still there";
  ASSERT_EQ(kernel.send(make_frame(60)), 0);
  const ReadResult result = device.read({});
  EXPECT_EQ(result.size, 0U);
  EXPECT_TRUE(result.truncated);
}

/// Records a device's writes, before the kernel takes the packets apart.
class WriteSpy final : public sandbox::ForwardingIo {
 public:
  ssize_t read(int fd, void* buffer, std::size_t size) override {
    calls.emplace_back("read");
    return ForwardingIo::read(fd, buffer, size);
  }
  ssize_t readv(int fd, std::span<const iovec> parts) override {
    calls.emplace_back("readv");
    return ForwardingIo::readv(fd, parts);
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    calls.emplace_back("write");
    first.assign(static_cast<const std::byte*>(buffer), static_cast<const std::byte*>(buffer) + size);
    return ForwardingIo::write(fd, buffer, size);
  }
  ssize_t writev(int fd, std::span<const iovec> parts) override {
    calls.emplace_back("writev");
    first.assign(static_cast<const std::byte*>(parts[0].iov_base),
                 static_cast<const std::byte*>(parts[0].iov_base) + parts[0].iov_len);
    return ForwardingIo::writev(fd, parts);
  }
  std::vector<std::string> calls;
  Buffer first;
};

TEST_F(DeviceIo, OneSystemCallForEachPacket) {
  WriteSpy io;
  Device device = Device::open(DeviceKind::tap, "tp0", {}, {io, links});
  links.set_up("tp0", true, ec);
  Buffer buffer(100);
  device.read_framed(buffer);
  device.read(buffer);
  const Buffer frame = make_frame(60);
  EXPECT_EQ(device.write(frame), 0);
  const std::array<Bytes, 2> parts{Bytes{frame}.first(20), Bytes{frame}.subspan(20)};
  EXPECT_EQ(device.write_sequence(parts), 0);
  EXPECT_THAT(io.calls, ElementsAre("read", "readv", "write", "writev"));
}

TEST_F(DeviceIo, PacketInformationNamesTheEtherType) {
  const auto information = [&](DeviceKind kind, const Buffer& packet) {
    WriteSpy io;
    Device device = Device::open(kind, "tp0", {.packet_information = true}, {io, links});
    links.set_up("tp0", true, ec);
    device.write(packet);
    return io.first.size() == 4 + packet.size() ? load_be32(io.first, 0) : 0;
  };
  EXPECT_EQ(information(DeviceKind::tap, make_frame(60)), 0x000088b5U);
  EXPECT_EQ(information(DeviceKind::tun, make_ipv4(60)), 0x00000800U);
  Buffer v6(60);
  store_u8(v6, 0, 0x60);
  EXPECT_EQ(information(DeviceKind::tun, v6), 0x000086ddU);
  EXPECT_EQ(information(DeviceKind::tun, make_ipv4(3000)), 0U) << "a long packet is not copied: two parts";
}

TEST_F(DeviceIo, KernelGivesTheEtherTypeInPacketInformationOnTap) {
  Device device = open_up(DeviceKind::tap, {.packet_information = true});
  PacketSocket kernel{"tp0"};
  ASSERT_EQ(kernel.send(make_frame(60)), 0);
  Buffer raw(100);
  ASSERT_EQ(::read(device.fileno(), raw.data(), raw.size()), 64);
  EXPECT_EQ(load_be16(raw, 2), 0x88b5);
}

TEST_F(DeviceIo, RefusesWhatIsNoPacket) {
  for (const bool packet_information : {false, true})
    for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap}) {
      Device device = open_up(kind, {.packet_information = packet_information});
      SCOPED_TRACE(to_string(device.capabilities()));
      EXPECT_EQ(device.write({}), EINVAL);
      EXPECT_EQ(device.write_sequence({}), EINVAL);
      const std::array<Bytes, 2> nothing{};
      EXPECT_EQ(device.write_sequence(nothing), EINVAL);
      EXPECT_EQ(device.write(Buffer(13)), EINVAL) << "no version, or too short for Ethernet";
      const Buffer packet = kind == DeviceKind::tun ? make_ipv4(60) : make_frame(60);
      std::vector<Bytes> parts;
      for (std::size_t i = 0; i < 17; ++i) parts.push_back(Bytes{packet}.subspan(i, 1));
      EXPECT_EQ(device.write_sequence(parts), EINVAL) << "too many parts";
      parts.back() = {};
      parts.pop_back();
      parts.back() = Bytes{packet}.subspan(15);
      EXPECT_EQ(device.write_sequence(parts), 0) << "sixteen";
    }
}

TEST_F(DeviceIo, DownIsAnErrorThatPasses) {
  Device device = Device::open(DeviceKind::tun, "tp0");
  const Buffer packet = make_ipv4(60);
  Buffer buffer(100);
  EXPECT_EQ(device.write(packet), EIO);
  EXPECT_EQ(device.read(buffer).error, EAGAIN);
  links.set_up("tp0", true, ec);
  EXPECT_EQ(device.write(packet), 0);
  links.set_up("tp0", false, ec);
  EXPECT_EQ(device.write(packet), EIO);
  links.set_up("tp0", true, ec);
  EXPECT_EQ(device.write(packet), 0);
}

TEST_F(DeviceIo, DeletedWhileAReaderWaits) {
  Device device = open_up(DeviceKind::tun, {.blocking = true});
  std::thread remover{[] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    std::error_code ignored;
    LinuxLinks{}.remove("tp0", ignored);
  }};
  Buffer buffer(100);
  EXPECT_EQ(device.read(buffer).error, EBADFD);
  remover.join();
}

TEST_F(DeviceIo, ClosedWhileAReaderWaits) {
  Device device = open_up(DeviceKind::tun, {.blocking = true});
  std::thread closer{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    device.close();
  }};
  Buffer buffer(100);
  EXPECT_EQ(device.read(buffer).error, ECANCELED);
  closer.join();
  EXPECT_FALSE(device);
  EXPECT_FALSE(links.find("tp0", ec)) << "the interface is gone with the device";
}

/// Notes a call that is made when the descriptor is closed.
class LateCalls final : public sandbox::ForwardingIo {
 public:
  ssize_t read(int fd, void* buffer, std::size_t size) override {
    note();
    return ForwardingIo::read(fd, buffer, size);
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    note();
    return ForwardingIo::write(fd, buffer, size);
  }
  std::atomic<bool> closed{false};
  std::atomic<int> late{0};

 private:
  void note() { late += closed ? 1 : 0; }
};

TEST_F(DeviceIo, ClosedWheneverWhileOthersReadAndWrite) {
  for (int round = 0; round < 100; ++round) {
    LateCalls io;
    Device device = Device::open(DeviceKind::tap, "tp0", {.blocking = true}, {io, links});
    links.set_up("tp0", true, ec);
    PacketSocket kernel{"tp0"};
    const Buffer frame = make_frame(60);
    std::thread reader{[&] {
      Buffer buffer(100);
      int error = 0;
      while (error == 0) error = device.read_framed(buffer).error;
      EXPECT_EQ(error, ECANCELED);
    }};
    std::thread writer{[&] {
      int error = 0;
      while (error == 0) error = device.write(frame);
      EXPECT_EQ(error, ECANCELED);
    }};
    for (int sent = 0; sent < round % 10; ++sent) kernel.send(frame);
    device.close();
    io.closed = true;
    reader.join();
    writer.join();
    EXPECT_EQ(io.late, 0);
  }
}

TEST_F(DeviceIo, CancelledWhileAReaderWaits) {
  Device device = open_up(DeviceKind::tap, {.blocking = true});
  std::thread canceller{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    device.cancel();
  }};
  Buffer buffer(100);
  EXPECT_EQ(device.read(buffer).error, ECANCELED);
  canceller.join();
  EXPECT_EQ(device.read(buffer).error, ECANCELED) << "from now on";
  EXPECT_EQ(device.read_framed(buffer).error, ECANCELED);
  EXPECT_EQ(device.write(make_frame(60)), 0) << "a write without a wait";
}

TEST_F(DeviceIo, DeletedIsFinal) {
  Device device = open_up(DeviceKind::tun);
  links.remove("tp0", ec);
  ASSERT_FALSE(ec) << ec.message();
  Buffer buffer(100);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(device.read_framed(buffer).error, EBADFD);
    EXPECT_EQ(device.read(buffer).error, EBADFD);
    EXPECT_EQ(device.write(make_ipv4(60)), EBADFD);
  }
  device.set_persistent(true, ec);
  EXPECT_EQ(ec, Errc::device_gone);
  EXPECT_FALSE(device.capabilities().persistent);
  EXPECT_FALSE(Device::adopt(device.release(), {}, linux_system(), ec));
  EXPECT_EQ(ec, Errc::not_bound);
}

TEST_F(DeviceIo, FullRingDropsAndTheLinkCountsIt) {
  Device device = open_up(DeviceKind::tap);
  const auto before = links.find("tp0", ec);
  ASSERT_TRUE(before);
  PacketSocket kernel{"tp0"};
  const Buffer frame = make_frame(60);
  const unsigned sent = before->tx_queue_length + 20;
  for (unsigned i = 0; i < sent; ++i) kernel.send(frame);
  EXPECT_EQ(links.find("tp0", ec)->tx_dropped - before->tx_dropped, 20U);
  unsigned received = 0;
  Buffer buffer(100);
  while (received < sent && device.read(buffer).error == 0) ++received;
  EXPECT_EQ(received, before->tx_queue_length);
}

TEST_F(DeviceIo, SendBufferIsTheKernels) {
  Device device = open_up(DeviceKind::tap);
  device.set_send_buffer(1, ec);
  EXPECT_FALSE(ec) << ec.message();
  int now = 0;
  ASSERT_EQ(::ioctl(device.fileno(), TUNGETSNDBUF, &now), 0);
  EXPECT_EQ(now, 1);
  device.set_send_buffer(0, ec);
  EXPECT_EQ(ec, errno_code(EINVAL));
}

// --- the virtio header, and the offload mask of an earlier process ---

UniqueFd bound_elsewhere(int flags, int header_size = 0, unsigned long mask = 0) {
  UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_NONBLOCK)};
  ifreq request{};
  std::memcpy(request.ifr_name, "tp0", 4);
  request.ifr_flags = static_cast<short>(flags);
  EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
  if (header_size != 0) {
    EXPECT_EQ(::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size), 0);
  }
  if (mask != 0) {
    EXPECT_EQ(::ioctl(fd.get(), TUNSETOFFLOAD, mask), 0);
  }
  return fd;
}

TEST_F(DeviceIo, AdoptedFramingIsTakenOffAndPutOn) {
  for (const int information : {0, IFF_NO_PI})
    for (const int header_size : {0, 10, 12, 24}) {
      const int header = header_size != 0 ? IFF_VNET_HDR : 0;
      Device device = Device::adopt(bound_elsewhere(IFF_TAP | information | header, header_size));
      SCOPED_TRACE(to_string(device.capabilities()) + ' ' + std::to_string(device.capabilities().framing));
      links.set_up("tp0", true, ec);
      PacketSocket kernel{"tp0"};
      const Buffer frame = make_frame(90, 5);
      ASSERT_EQ(kernel.send(frame), 0);
      EXPECT_EQ(read_one(device), frame);
      EXPECT_EQ(device.write(frame), 0);
      EXPECT_EQ(kernel.receive(), frame);
      ASSERT_EQ(kernel.send(frame), 0);
      Buffer small(50);
      const ReadResult result = device.read(small);
      EXPECT_EQ(result.size, 50U);
      EXPECT_TRUE(result.truncated);
    }
}

/// virtio_net_hdr, in the machine's byte order; linux/virtio_net.h is not C++.
struct VirtioHeader {
  std::uint8_t flags;
  std::uint8_t gso_type;
  std::uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/// A TCP super-packet as from the kernel: 5,000 bytes in segments of 1,000, with the checksum left to fill.
Buffer make_super_packet() {
  constexpr VirtioHeader header{.flags = 1,     // VIRTIO_NET_HDR_F_NEEDS_CSUM
                                .gso_type = 1,  // VIRTIO_NET_HDR_GSO_TCPV4
                                .hdr_len = 40,
                                .gso_size = 1000,
                                .csum_start = 20,
                                .csum_offset = 16};
  Buffer packet(sizeof header + 40 + 5000);
  std::memcpy(packet.data(), &header, sizeof header);
  const Buffer ip = make_ipv4(5040);
  const MutableBytes whole = MutableBytes{packet}.subspan(sizeof header);
  std::ranges::copy(ip, whole.begin());
  store_u8(whole, 9, 6);  // TCP instead of 253
  store_be16(whole, 10, static_cast<std::uint16_t>(load_be16(whole, 10) + 253 - 6));
  store_be16(whole, 20, 1000);
  store_be16(whole, 22, 2000);
  store_be16(whole, 32, 5U << 12 | 0x10);  // header length, ACK
  const std::uint32_t pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 5020;
  store_be16(whole, 36, static_cast<std::uint16_t>((pseudo & 0xffff) + (pseudo >> 16)));
  return packet;
}

/// The plain sum over the TCP part with its pseudo-header; 0xffff if the checksum is right.
std::uint32_t tcp_sum(Bytes packet) {
  std::uint32_t sum = 6 + static_cast<std::uint32_t>(packet.size() - 20);
  for (std::size_t i = 12; i + 1 < packet.size(); i += 2) sum += load_be16(packet, i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

TEST_F(DeviceIo, OffloadMaskThatOthersLeftIsCleared) {
  constexpr unsigned long mask = TUN_F_CSUM | TUN_F_TSO4;
  const Buffer super = make_super_packet();
  {
    const UniqueFd fd = bound_elsewhere(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 0, mask);
    ASSERT_EQ(::ioctl(fd.get(), TUNSETPERSIST, 1UL), 0);
  }
  Buffer buffer(70'000);
  {
    // The trap itself, shown first: a reader who ignores the mask gets the super-packet whole.
    const UniqueFd naive = bound_elsewhere(IFF_TUN | IFF_NO_PI);
    links.set_up("tp0", true, ec);
    PacketSocket kernel{"tp0", true};
    ASSERT_EQ(kernel.send(super), 0);
    ASSERT_TRUE(wait_readable(naive.get()));
    ASSERT_EQ(::read(naive.get(), buffer.data(), buffer.size()), 5040);
    EXPECT_NE(tcp_sum(Bytes{buffer}.first(5040)), 0xffffU);
  }
  // Down and up again around the attaching: an interface that is up without a holder gets its queueing back
  // some time after the carrier, and drops packets before.
  links.set_up("tp0", false, ec);
  Device device = Device::open(DeviceKind::tun, "tp0", {.mode = OpenMode::attach});
  links.set_up("tp0", true, ec);
  PacketSocket kernel{"tp0", true};
  ASSERT_EQ(kernel.send(super), 0);
  for (int i = 0; i < 5; ++i) {
    const Buffer packet = read_one(device);
    EXPECT_EQ(packet.size(), 1040U);
    EXPECT_EQ(tcp_sum(packet), 0xffffU);
  }
  EXPECT_EQ(device.read(buffer).error, EAGAIN);
}

TEST_F(DeviceIo, AdoptClearsTheOffloadMaskToo) {
  Device device =
      Device::adopt(bound_elsewhere(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 0, TUN_F_CSUM | TUN_F_TSO4));
  links.set_up("tp0", true, ec);
  PacketSocket kernel{"tp0", true};
  ASSERT_EQ(kernel.send(make_super_packet()), 0);
  for (int i = 0; i < 5; ++i) {
    const Buffer packet = read_one(device);
    EXPECT_EQ(packet.size(), 1040U);
    EXPECT_EQ(tcp_sum(packet), 0xffffU);
  }
}

}  // namespace
}  // namespace tunport
