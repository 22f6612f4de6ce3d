#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/device/device.hpp"
#include "tunport/testing/memory_offload_internal.hpp"

#include "kernel/sandbox.hpp"
#include "support/shape.hpp"

// Super-packets between a device and the kernel's own sockets.

namespace tunport {
namespace {

using sandbox::wait_readable;
using Buffer = std::vector<std::byte>;

constexpr int udp_segment = 103;  // UDP_SEGMENT in linux/udp.h
constexpr std::uint16_t port = 53;
constexpr std::uint16_t segment_size = 100;
constexpr Ipv4Address kernel_ip{0x0a4d0001};  // 10.77.0.1
constexpr Ipv4Address host_ip{0x0a4d0002};

sockaddr_in address_of(Ipv4Address ip) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  std::array<std::byte, 4> octets{};
  ip.store(octets, 0);
  std::memcpy(&address.sin_addr, octets.data(), octets.size());
  return address;
}

class DeviceOffload : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    sandbox::disable_ipv6();
    device_ = Device::open(DeviceKind::tun, "tp0", {.offload = OffloadFeatures::all()});
    links.set_up("tp0", true, ec);
    links.add_address("tp0", *IpPrefix::parse("10.77.0.1/24"), ec);
    ASSERT_FALSE(ec) << ec.message();
    if (!device_.capabilities().offload.uso)
      GTEST_SKIP() << "the kernel has no UDP super-packets. This test was not run.";
    socket_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const sockaddr_in address = address_of(kernel_ip);
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void send(Bytes payload) {
    const int size = segment_size;
    ASSERT_EQ(::setsockopt(socket_.get(), IPPROTO_UDP, udp_segment, &size, sizeof size), 0);
    const sockaddr_in address = address_of(host_ip);
    EXPECT_EQ(::sendto(socket_.get(), payload.data(), payload.size(), 0,
                       reinterpret_cast<const sockaddr*>(&address), sizeof address),
              static_cast<ssize_t>(payload.size()));
  }

  Device device_;
  UniqueFd socket_;
  const Buffer payload_ = shapes::some_bytes(5 * segment_size - 30);
};

TEST_F(DeviceOffload, WhatASocketSendsAtOnceIsReadAtOnce) {
  send(payload_);
  Buffer buffer(2000);
  const ReadResult result = device_.read_framed(buffer);
  ASSERT_EQ(result.error, 0);
  const auto header = MemoryVirtioHeader::load(buffer, device_.capabilities().byte_order);
  const Bytes packet = Bytes{buffer}.subspan(device_.capabilities().framing, result.size);
  const auto left = header.offload_of(packet, DeviceKind::tun, {});
  ASSERT_TRUE(left);
  EXPECT_EQ(*left, (PacketOffload{.kind = SegmentKind::udp,
                                  .checksum = ChecksumState::to_fill,
                                  .segment_size = segment_size,
                                  .header_length = 28,
                                  .checksum_start = 20,
                                  .checksum_offset = 6}));
  EXPECT_EQ(datagrams_in(result.size, *left), 5U);
  EXPECT_TRUE(std::ranges::equal(packet.subspan(28), payload_));
}

TEST_F(DeviceOffload, WithoutTheMaskItIsReadDatagramByDatagram) {
  device_.set_offload({}, ec);
  send(payload_);
  Buffer buffer(2000);
  Buffer together;
  for (int i = 0; i < 5; ++i) {
    const ReadResult result = device_.read_framed(buffer);
    ASSERT_EQ(result.error, 0);
    DropReason why{};
    const auto ip = Ipv4View::checked(Bytes{buffer}.subspan(10, result.size), why);
    ASSERT_TRUE(ip) << to_string(why);
    const auto udp = UdpView::checked(ip->payload(), ip->source(), ip->destination(), why);
    ASSERT_TRUE(udp) << to_string(why);
    EXPECT_TRUE(udp->has_checksum());
    together.insert(together.end(), udp->payload().begin(), udp->payload().end());
  }
  EXPECT_EQ(together, payload_);
  EXPECT_EQ(device_.read_framed(buffer).error, EAGAIN);
}

TEST_F(DeviceOffload, WhatIsWrittenAtOnceReachesASocketDatagramByDatagram) {
  const shapes::Shape shape{.protocol = ip_protocol::udp, .source4 = host_ip, .destination4 = kernel_ip};
  Buffer framed(device_.capabilities().framing);
  MemoryVirtioHeader::of(shapes::offload_of(shape, segment_size)).store(framed, std::endian::native);
  const Buffer packet = shapes::super_packet(shape, payload_);
  framed.insert(framed.end(), packet.begin(), packet.end());
  ASSERT_EQ(device_.write_framed(Bytes{framed}), 0);
  for (std::size_t at = 0; at < payload_.size(); at += segment_size) {
    ASSERT_TRUE(wait_readable(socket_.get()));
    Buffer datagram(2000);
    const ssize_t size = ::recv(socket_.get(), datagram.data(), datagram.size(), 0);
    ASSERT_GT(size, 0);
    datagram.resize(static_cast<std::size_t>(size));
    const Bytes expected =
        Bytes{payload_}.subspan(at, std::min<std::size_t>(segment_size, payload_.size() - at));
    EXPECT_TRUE(std::ranges::equal(datagram, expected)) << at;
  }
  char more = 0;
  EXPECT_EQ(::recv(socket_.get(), &more, 1, 0), -1);
}

}  // namespace
}  // namespace tunport
