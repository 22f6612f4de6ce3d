/// Packets through a descriptor: framing, truncation, the ring, down, deleted, readiness.

#include <array>
#include <bit>
#include <cerrno>

#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "contract/world.hpp"

namespace tunport::contract {
namespace {

constexpr int tun = IFF_TUN | IFF_NO_PI;
constexpr int tap = IFF_TAP | IFF_NO_PI;

class Packets : public Contract {
 protected:
  /// Reads until the descriptor is empty, at most `most` packets. Returns the number.
  std::size_t drain(const UniqueFd& fd, std::size_t most = 5000) {
    Packet packet;
    std::size_t count = 0;
    while (count < most && read(fd, packet) >= 0) ++count;
    return count;
  }
};
TUNPORT_IN_BOTH_WORLDS(Packets);

std::uint8_t strip_flag(const Packet& packet) {
  return load_u8(packet, std::endian::native == std::endian::little ? 0 : 1);
}

TEST_P(Packets, OneByOneInOrder) {
  const UniqueFd fd = make("tp0", tun);
  Packet packet;
  EXPECT_EQ(read(fd, packet), -EAGAIN);
  EXPECT_EQ(ready(fd, POLLIN), 0);
  for (std::uint8_t i = 1; i <= 3; ++i) world().inject("tp0", make_ipv4(40 + i, i));
  EXPECT_EQ(ready(fd, POLLIN), POLLIN);
  for (std::uint8_t i = 1; i <= 3; ++i) {
    EXPECT_EQ(read(fd, packet), 40 + i);
    EXPECT_EQ(packet, make_ipv4(40 + i, i));
  }
  EXPECT_EQ(read(fd, packet), -EAGAIN);
  EXPECT_EQ(ready(fd, POLLIN), 0);
}

TEST_P(Packets, FramesOnTap) {
  const UniqueFd fd = make("tp0", tap);
  world().inject("tp0", make_frame(60, 7));
  Packet packet;
  EXPECT_EQ(read(fd, packet), 60);
  EXPECT_EQ(packet, make_frame(60, 7));
}

TEST_P(Packets, SeveralDevices) {
  const UniqueFd one = make("tp0", tun);
  const UniqueFd two = make("tp1", tap);
  world().inject("tp1", make_frame(60));
  EXPECT_EQ(drain(one), 0U);
  EXPECT_EQ(drain(two), 1U);
}

TEST_P(Packets, TruncationIsSilentWithoutPacketInformation) {
  const UniqueFd fd = make("tp0", tun);
  world().inject("tp0", make_ipv4(100, 9));
  Packet packet;
  EXPECT_EQ(read(fd, packet, 30), 30);
  Packet expected = make_ipv4(100, 9);
  expected.resize(30);
  EXPECT_EQ(packet, expected);
  EXPECT_EQ(read(fd, packet), -EAGAIN) << "the rest is lost";
}

TEST_P(Packets, ScatteredAndGathered) {
  const UniqueFd fd = make("tp0", tun);
  world().listen("tp0");
  world().inject("tp0", make_ipv4(50, 3));
  Packet head(20);
  Packet tail(100);
  EXPECT_EQ(
      io().readv(fd.get(), std::array{iovec{head.data(), 20}, iovec{nullptr, 0}, iovec{tail.data(), 100}}),
      50);
  head.insert(head.end(), tail.begin(), tail.begin() + 30);
  EXPECT_EQ(head, make_ipv4(50, 3));
  EXPECT_EQ(io().writev(fd.get(), std::array{iovec{head.data(), 10}, iovec{head.data() + 10, 40}}), 50);
  EXPECT_EQ(world().collect("tp0"), make_ipv4(50, 3));
}

TEST_P(Packets, NothingAskedForTakesNothing) {
  const UniqueFd fd = make("tp0", tun);
  world().inject("tp0", make_ipv4(50));
  Packet packet;
  EXPECT_EQ(io().read(fd.get(), nullptr, 0), 0);
  EXPECT_EQ(io().readv(fd.get(), std::array{iovec{nullptr, 0}}), 0);
  EXPECT_EQ(read(fd, packet), 50);
  EXPECT_EQ(io().write(fd.get(), nullptr, 0), -EINVAL);
  EXPECT_EQ(io().writev(fd.get(), std::array{iovec{nullptr, 0}}), 0) << "never comes to the driver";
}

TEST_P(Packets, PacketInformation) {
  const UniqueFd fd = make("tp0", IFF_TUN);
  world().inject("tp0", make_ipv4(40));
  Packet packet;
  EXPECT_EQ(read(fd, packet), 44);
  EXPECT_EQ(load_be32(packet, 0), 0x0800U);
  packet.erase(packet.begin(), packet.begin() + 4);
  EXPECT_EQ(packet, make_ipv4(40));
  // The protocol is the packet's, IPv6 included; on TAP the frame's.
  Packet v6(60, std::byte{0x60});
  world().inject("tp0", v6);
  EXPECT_EQ(read(fd, packet), 64);
  EXPECT_EQ(load_be32(packet, 0), 0x86ddU);
  const UniqueFd ethernet = make("tp1", IFF_TAP);
  world().inject("tp1", make_frame(60));
  EXPECT_EQ(read(ethernet, packet), 64);
  EXPECT_EQ(load_be32(packet, 0), 0x88b5U);
}

TEST_P(Packets, PacketInformationTellsOfTruncation) {
  const UniqueFd fd = make("tp0", IFF_TUN);
  Packet packet;
  for (const ssize_t room : {44, 43, 10, 4}) {
    world().inject("tp0", make_ipv4(40));
    EXPECT_EQ(read(fd, packet, static_cast<std::size_t>(room)), room);
    EXPECT_EQ(strip_flag(packet), room < 44 ? TUN_PKT_STRIP : 0) << room;
  }
}

TEST_P(Packets, ABufferShorterThanTheFramingLosesThePacket) {
  const UniqueFd fd = make("tp0", IFF_TUN);
  world().inject("tp0", make_ipv4(40));
  Packet packet;
  EXPECT_EQ(read(fd, packet, 3), -EINVAL);
  EXPECT_EQ(read(fd, packet), -EAGAIN);
  EXPECT_EQ(ready(fd, POLLIN), 0);
  const UniqueFd virtio = make("tp1", tun | IFF_VNET_HDR);
  world().inject("tp1", make_ipv4(40));
  EXPECT_EQ(read(virtio, packet, 9), -EINVAL);
  EXPECT_EQ(read(virtio, packet), -EAGAIN);
}

TEST_P(Packets, WritesArriveWithoutFraming) {
  world().links();
  const UniqueFd plain = make("tp0", tun);
  world().listen("tp0");
  EXPECT_EQ(write(plain, make_ipv4(40, 1)), 40);
  EXPECT_EQ(world().collect("tp0"), make_ipv4(40, 1));
  const UniqueFd framed = make("tp1", IFF_TUN);
  world().listen("tp1");
  Packet packet = make_ipv4(40, 2);
  const std::array<std::byte, 4> information{std::byte{}, std::byte{}, std::byte{8}, std::byte{}};
  packet.insert(packet.begin(), information.begin(), information.end());
  EXPECT_EQ(write(framed, packet), 44);
  EXPECT_EQ(world().collect("tp1"), make_ipv4(40, 2));
  const UniqueFd ethernet = make("tp2", tap);
  world().listen("tp2");
  EXPECT_EQ(write(ethernet, make_frame(60, 3)), 60);
  EXPECT_EQ(world().collect("tp2"), make_frame(60, 3));
}

TEST_P(Packets, VirtioHeader) {
  for (const int size : {10, 12}) {
    SCOPED_TRACE(size);
    const UniqueFd fd = make("tp0", tun | IFF_VNET_HDR);
    int number = size;
    EXPECT_EQ(io().ioctl(fd.get(), TUNSETVNETHDRSZ, &number), 0);
    world().inject("tp0", make_ipv4(40));
    Packet packet;
    EXPECT_EQ(read(fd, packet), size + 40);
    const Packet header(static_cast<std::size_t>(size));
    EXPECT_TRUE(std::equal(header.begin(), header.end(), packet.begin())) << "nothing to segment or to fill";
    world().listen("tp0");
    EXPECT_EQ(write(fd, packet), size + 40);
    EXPECT_EQ(world().collect("tp0"), make_ipv4(40));
    EXPECT_EQ(write(fd, Bytes{packet}.first(static_cast<std::size_t>(size - 1))), -EINVAL);
  }
}

TEST_P(Packets, WhatIsNotAcceptedOnTun) {
  const UniqueFd fd = make("tp0", tun);
  EXPECT_EQ(write(fd, Packet(40)), -EINVAL) << "version nibble 0";
  EXPECT_EQ(write(fd, Packet(40, std::byte{0x55})), -EINVAL);
  EXPECT_EQ(write(fd, Packet(40, std::byte{0x60})), 40);
  const UniqueFd framed = make("tp1", IFF_TUN);
  EXPECT_EQ(write(framed, Packet(3)), -EINVAL);
  EXPECT_EQ(write(framed, Packet(44)), 44) << "with packet information the nibble is not checked";
}

TEST_P(Packets, WhatIsNotAcceptedOnTap) {
  const UniqueFd fd = make("tp0", tap);
  EXPECT_EQ(write(fd, Packet(13)), -EINVAL);
  EXPECT_EQ(write(fd, make_frame(14)), 14);
}

TEST_P(Packets, DownIsTestedLast) {
  const UniqueFd fd = make("tp0", tun, false);
  EXPECT_EQ(write(fd, make_ipv4(40)), -EIO);
  EXPECT_EQ(write(fd, Packet(40)), -EINVAL);
  const UniqueFd ethernet = make("tp1", tap, false);
  EXPECT_EQ(write(ethernet, make_frame(60)), -EIO);
  EXPECT_EQ(write(ethernet, Packet(13)), -EINVAL);
  set_up("tp0", true);
  EXPECT_EQ(write(fd, make_ipv4(40)), 40);
}

TEST_P(Packets, WritableOnlyWhileUp) {
  const UniqueFd fd = make("tp0", tun, false);
  const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event), 0);
  const auto edge = [&] {
    epoll_event got{};
    return ::epoll_wait(epoll.get(), &got, 1, 0) == 1 && (got.events & EPOLLOUT) != 0;
  };
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(ready(fd, POLLOUT), 0);
    EXPECT_FALSE(edge());
    set_up("tp0", true);
    EXPECT_EQ(ready(fd, POLLOUT), POLLOUT);
    EXPECT_TRUE(edge()) << "raised again";
    set_up("tp0", false);
  }
}

TEST_P(Packets, DownQueuesNothingAndKeepsWhatWasQueued) {
  const UniqueFd fd = make("tp0", tun, false);
  world().inject("tp0", make_ipv4(40));
  set_up("tp0", true);
  EXPECT_EQ(drain(fd), 0U);
  for (int i = 0; i < 3; ++i) world().inject("tp0", make_ipv4(40));
  set_up("tp0", false);
  EXPECT_EQ(ready(fd, POLLIN), POLLIN);
  EXPECT_EQ(drain(fd), 3U);
  Packet packet;
  EXPECT_EQ(read(fd, packet), -EAGAIN) << "no error";
  EXPECT_EQ(links().find("tp0", ec)->tx_dropped, 0U);
}

TEST_P(Packets, AFullRingDropsAndCounts) {
  const UniqueFd one = make("tp0", tun);
  EXPECT_EQ(links().find("tp0", ec)->tx_queue_length, 500U);
  const UniqueFd two = make("tp1", tap);
  EXPECT_EQ(links().find("tp1", ec)->tx_queue_length, 1000U);
  for (int i = 0; i < 507; ++i) world().inject("tp0", make_ipv4(40));
  EXPECT_EQ(links().find("tp0", ec)->tx_dropped, 7U);
  EXPECT_EQ(drain(one), 500U);
}

TEST_P(Packets, TheRingFollowsTheQueueLength) {
  const UniqueFd fd = make("tp0", tun);
  world().set_tx_queue_length("tp0", 10);
  EXPECT_EQ(links().find("tp0", ec)->tx_queue_length, 10U);
  for (std::uint8_t i = 0; i < 15; ++i) world().inject("tp0", make_ipv4(40, i));
  Packet packet;
  for (std::uint8_t i = 0; i < 10; ++i) {
    EXPECT_EQ(read(fd, packet), 40);
    EXPECT_EQ(packet, make_ipv4(40, i)) << "the oldest stay";
  }
  EXPECT_EQ(read(fd, packet), -EAGAIN);
}

TEST_P(Packets, NobodyAttachedIsADrop) {
  world().prepare("tp0", DeviceKind::tun, std::nullopt, std::nullopt);
  set_up("tp0", true);
  world().inject("tp0", make_ipv4(40));
  EXPECT_EQ(links().find("tp0", ec)->tx_dropped, 1U);
  const UniqueFd fd = make("tp0", tun);
  EXPECT_EQ(drain(fd), 0U);
}

TEST_P(Packets, DeletedIsForEver) {
  const UniqueFd fd = make("tp0", tun);
  world().inject("tp0", make_ipv4(40));
  const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  event.events = EPOLLPRI | EPOLLET;  // as a paused descriptor is watched
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event), 0);
  EXPECT_EQ(::epoll_wait(epoll.get(), &event, 1, 0), 0);
  links().remove("tp0", ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_FALSE(exists("tp0"));
  EXPECT_EQ(::epoll_wait(epoll.get(), &event, 1, 0), 1);
  EXPECT_NE(event.events & EPOLLERR, 0U);
  Packet packet;
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(ready(fd, POLLPRI) & POLLERR, 0);
    EXPECT_EQ(read(fd, packet), -EBADFD);
    EXPECT_EQ(write(fd, make_ipv4(40)), -EBADFD);
    EXPECT_EQ(flags_of(fd), -EBADFD);
  }
}

// The fake reports to every watcher: its descriptors are sockets.
TEST_P(Packets, DeletionIsToldOnlyToThoseWhoWatchForInput) {
  if (GetParam() == WorldKind::fake) GTEST_SKIP() << "the fake reports in any case. This test was not run.";
  const std::pair<std::uint32_t, bool> table[] = {
      {0, false}, {EPOLLOUT, false}, {EPOLLIN, true}, {EPOLLPRI, true}, {EPOLLIN | EPOLLOUT, true}};
  for (const auto& [events, told] : table) {
    SCOPED_TRACE(events);
    const UniqueFd fd = make("tp0", tun);
    const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
    epoll_event event{};
    event.events = events | EPOLLET;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event), 0);
    ::epoll_wait(epoll.get(), &event, 1, 0);  // the first report: writable
    links().remove("tp0", ec);
    EXPECT_FALSE(ec) << ec.message();
    event.events = 0;
    EXPECT_EQ(::epoll_wait(epoll.get(), &event, 1, told ? 1000 : 50), told ? 1 : 0);
    EXPECT_EQ((event.events & EPOLLERR) != 0, told);
  }
}

TEST_P(Packets, DeletedWhileDown) {
  const UniqueFd fd = make("tp0", tun, false);
  links().remove("tp0", ec);
  EXPECT_NE(ready(fd, POLLPRI) & POLLERR, 0);
  const UniqueFd next = make("tp0", tun);
  EXPECT_EQ(write(next, make_ipv4(40)), 40) << "the name is free again";
  EXPECT_EQ(write(fd, make_ipv4(40)), -EBADFD);
}

TEST_P(Packets, QueuesReadWhatIsSent) {
  const UniqueFd one = make("tp0", tun | IFF_MULTI_QUEUE);
  const UniqueFd two = make("tp0", tun | IFF_MULTI_QUEUE);
  world().inject("tp0", make_ipv4(40));
  EXPECT_EQ(drain(one) + drain(two), 1U);
  EXPECT_EQ(write(two, make_ipv4(40)), 40);
}

}  // namespace
}  // namespace tunport::contract
