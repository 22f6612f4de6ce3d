/// Super-packets and checksums left to fill: the handshake, and reading.

#include "contract/offload_contract.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>

namespace tunport::contract {
namespace {

constexpr int tun = IFF_TUN | IFF_NO_PI;

class Offloads : public OffloadContract {};
TUNPORT_IN_BOTH_WORLDS(Offloads);

// The handshake.

TEST_P(Offloads, OpeningIsGrantedWhatTheKernelHas) {
  OffloadFeatures expected = OffloadFeatures::all();
  expected.uso = knows_uso();
  const Device device = open(DeviceKind::tun, OffloadFeatures::all());
  EXPECT_EQ(device.capabilities().offload, expected);
  EXPECT_TRUE(device.capabilities().vnet_header);
  EXPECT_EQ(device.capabilities().framing, 10U);
  EXPECT_EQ(device.capabilities().byte_order, std::endian::native);
  const Device without = open(DeviceKind::tap, {}, "tp1");
  EXPECT_EQ(without.capabilities().framing, 0U);
  EXPECT_FALSE(without.capabilities().offload.any());
}

TEST_P(Offloads, AttachingGivesAPersistentDeviceTheHeader) {
  leave_behind(tun, 0);
  Device device = open(DeviceKind::tun, {.checksum = true, .tso4 = true});
  EXPECT_EQ(device.capabilities().framing, 10U);
  EXPECT_EQ(device.capabilities().offload, (OffloadFeatures{.checksum = true, .tso4 = true}));
  const auto link = links().find("tp0", ec);
  ASSERT_TRUE(link && link->tunnel);
  EXPECT_TRUE(link->tunnel->vnet_header);
  device.close();
  device = open(DeviceKind::tun, {});
  EXPECT_EQ(device.capabilities().framing, 0U) << "the next opening takes the header away again";
}

TEST_P(Offloads, HeaderSizeIsThatOfAnEarlierProcess) {
  // With 24, Linux 6.17 and later read the offsets of a tunnel behind the common part.
  for (const int size : {12, 20, 24}) {
    leave_behind(tun | IFF_VNET_HDR, 0, size);
    Device device = open(DeviceKind::tun, OffloadFeatures::all());
    EXPECT_EQ(device.capabilities().framing, static_cast<std::size_t>(size));
    const Shape shape{};
    inject(shape, payload_);
    const Read got = read(device);
    EXPECT_EQ(got.bytes, shapes::super_packet(shape, payload_));
    world().listen("tp0");
    EXPECT_EQ(write(device, MemoryVirtioHeader::of(shapes::offload_of(shape, segment_size)), got.bytes), 0);
    EXPECT_EQ(world().collect("tp0"), got.bytes);
    EXPECT_EQ(device.write(got.bytes, shapes::offload_of(shape, segment_size)), 0);
    EXPECT_EQ(world().collect("tp0"), got.bytes);
    device.set_persistent(false);
  }
}

TEST_P(Offloads, AdoptingUsesTheHeaderThatIsThere) {
  Device device =
      Device::adopt(make("tp0", tun | IFF_VNET_HDR), {.offload = {.checksum = true, .tso6 = true}}, system());
  EXPECT_EQ(device.capabilities().offload, (OffloadFeatures{.checksum = true, .tso6 = true}));
  device = Device::adopt(device.release(), {}, system());
  EXPECT_FALSE(device.capabilities().offload.any()) << "no offload is wanted";
  EXPECT_EQ(device.capabilities().framing, 10U);
  inject({}, payload_);
  EXPECT_EQ(drain(device), shapes::segments({}, payload_, segment_size));
  device = Device::adopt(make("tp1", tun), {.offload = OffloadFeatures::all()}, system());
  EXPECT_FALSE(device.capabilities().offload.any()) << "there is no header";
  EXPECT_EQ(device.capabilities().framing, 0U);
}

TEST_P(Offloads, AFurtherQueueTakesWhatIsThere) {
  const UniqueFd first = make("tp0", tun | IFF_MULTI_QUEUE);
  const DeviceOptions options{.multi_queue = true, .offload = OffloadFeatures::all()};
  const Device second = Device::open(DeviceKind::tun, "tp0", options, system());
  EXPECT_EQ(second.capabilities().framing, 0U);
  EXPECT_FALSE(second.capabilities().offload.any());
  const UniqueFd other = make("tp1", tun | IFF_MULTI_QUEUE | IFF_VNET_HDR);
  const Device third = Device::open(DeviceKind::tun, "tp1", {.multi_queue = true}, system());
  EXPECT_EQ(third.capabilities().framing, 10U) << "not asked for, but there";
  EXPECT_FALSE(third.capabilities().offload.any());
}

TEST_P(Offloads, AStaleMaskWithoutAHeaderBringsRawSuperPackets) {
  leave_behind(tun, tun_offload::checksum | tun_offload::tso4);
  const UniqueFd fd = make("tp0", tun);
  inject({}, payload_);
  Packet packet;
  EXPECT_GT(Contract::read(fd, packet, 5000), 0);
  EXPECT_EQ(packet, shapes::super_packet({}, payload_));
}

TEST_P(Offloads, AttachingClearsAStaleMask) {
  leave_behind(tun | IFF_VNET_HDR, tun_offload::checksum | tun_offload::tso4);
  Device device = open(DeviceKind::tun, {});
  inject({}, payload_);
  EXPECT_EQ(drain(device), shapes::segments({}, payload_, segment_size));
}

TEST_P(Offloads, ClosingLeavesNoMaskToAProgramWithoutTheHeader) {
  for (const bool assigned : {false, true}) {
    leave_behind(tun, 0);
    Device device = open(DeviceKind::tun, {.checksum = true, .tso4 = true});
    ASSERT_TRUE(device.capabilities().offload.tso4);
    set_up("tp0", false);
    if (assigned)
      device = Device{};
    else
      device.close();
    const UniqueFd plain = make("tp0", tun);
    inject(Shape{}, payload_);
    Packet packet;
    for (const Packet& segment : shapes::segments({}, payload_, segment_size)) {
      EXPECT_GT(Contract::read(plain, packet), 0);
      EXPECT_EQ(packet, segment);
    }
    EXPECT_EQ(Contract::read(plain, packet), -EAGAIN);
    EXPECT_EQ(io().ioctl_value(plain.get(), TUNSETPERSIST, 0), 0);
  }
}

TEST_P(Offloads, TheLastQueueLeavesNoMaskBehind) {
  leave_behind(tun | IFF_MULTI_QUEUE, 0);
  const DeviceOptions options{.multi_queue = true, .offload = {.checksum = true, .tso4 = true}};
  Device first = Device::open(DeviceKind::tun, "tp0", options, system());
  Device second = Device::open(DeviceKind::tun, "tp0", options, system());
  ASSERT_TRUE(first.capabilities().offload.tso4);
  set_up("tp0", true);
  second.close();
  inject({}, payload_);
  EXPECT_EQ(drain(first).size(), 1U) << "the mask is the other queue's as well";
  set_up("tp0", false);
  first.close();
  const UniqueFd plain = make("tp0", tun | IFF_MULTI_QUEUE);
  inject({}, payload_);
  Packet packet;
  for (const Packet& segment : shapes::segments({}, payload_, segment_size)) {
    EXPECT_GT(Contract::read(plain, packet), 0);
    EXPECT_EQ(packet, segment);
  }
  EXPECT_EQ(io().ioctl_value(plain.get(), TUNSETPERSIST, 0), 0);
}

TEST_P(Offloads, AHandedOverDeviceKeepsItsMask) {
  for (const int queues : {0, IFF_MULTI_QUEUE}) {
    leave_behind(tun | queues, 0);
    const DeviceOptions options{.multi_queue = queues != 0, .offload = {.checksum = true, .tso4 = true}};
    Device before = Device::open(DeviceKind::tun, "tp0", options, system());
    UniqueFd copy{::fcntl(before.fileno(), F_DUPFD_CLOEXEC, 0)};
    Device after = Device::adopt(std::move(copy), {.offload = options.offload}, system());
    set_up("tp0", true);
    before.close();
    inject({}, payload_);
    EXPECT_EQ(drain(after), std::vector<Packet>{shapes::super_packet({}, payload_)});
    after.set_persistent(false);
  }
}

TEST_P(Offloads, TheMaskCanBeChangedWhileOpen) {
  Device device = open(DeviceKind::tun, {.checksum = true, .tso4 = true});
  inject({}, payload_);
  device.set_offload({}, ec);
  EXPECT_FALSE(ec) << ec.message();
  inject({}, payload_);
  std::vector<Packet> expected{shapes::super_packet({}, payload_)};
  for (Packet& segment : shapes::segments({}, payload_, segment_size)) expected.push_back(std::move(segment));
  EXPECT_EQ(drain(device), expected) << "queued super-packets stay whole";
  device.set_offload({.checksum = true, .tso4 = true}, ec);
  inject({}, payload_);
  EXPECT_EQ(drain(device).size(), 1U);
}

TEST_P(Offloads, TheByteOrderIsTheDevices) {
  for (const std::endian order : {std::endian::little, std::endian::big}) {
    const UniqueFd probe = make("probe", tun | IFF_VNET_HDR, false);
    int on = 1;
    const bool is_little = order == std::endian::little;
    if (io().ioctl(probe.get(), is_little ? TUNSETVNETLE : TUNSETVNETBE, &on) != 0) {
      RecordProperty("skipped", is_little ? "little" : "big");  // CONFIG_TUN_VNET_CROSS_LE is rare
      continue;
    }
    UniqueFd fd = make("tp0", tun | IFF_VNET_HDR);
    EXPECT_EQ(io().ioctl(fd.get(), is_little ? TUNSETVNETLE : TUNSETVNETBE, &on), 0);
    Device device = Device::adopt(std::move(fd), {.offload = OffloadFeatures::all()}, system());
    EXPECT_EQ(device.capabilities().byte_order, order);
    inject({}, payload_);
    const Read got = read(device);
    EXPECT_EQ(got.header.segment_size, segment_size);
    EXPECT_EQ(got.header.checksum_start, 20U);
    EXPECT_EQ(write(device, got.header, got.bytes), 0);
    device.close();
  }
}

// Reading.

TEST_P(Offloads, SuperPacketsAreReadWhole) {
  if (!knows_uso()) GTEST_SKIP() << "the kernel has no UDP super-packets. This test was not run.";
  auto shapes = shapes::all();
  for (const Shape& shape : shapes::long_headers()) shapes.push_back(shape);
  for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap}) {
    Device device = open(kind, OffloadFeatures::all());
    for (const Shape& shape : shapes) {
      if (shape.kind != kind) continue;
      SCOPED_TRACE(shape.name());
      inject(shape, payload_);
      const Read got = read(device);
      EXPECT_EQ(got.bytes, shapes::super_packet(shape, payload_));
      EXPECT_EQ(got.header.offload_of(got.bytes, kind, {}), shapes::offload_of(shape, segment_size));
      EXPECT_EQ(drain(device).size(), 0U);
    }
  }
}

TEST_P(Offloads, WhatTheMaskDoesNotCoverIsSegmented) {
  const bool uso = knows_uso();
  auto shapes = shapes::all();
  for (const Shape& shape : shapes::long_headers()) shapes.push_back(shape);
  for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap}) {
    for (const bool checksum : {false, true}) {
      Device device = open(kind, {.checksum = checksum});
      for (const Shape& shape : shapes) {
        if (shape.kind != kind || (!shape.is_tcp() && !uso)) continue;
        SCOPED_TRACE(shape.name() + (checksum ? ", checksum" : ""));
        inject(shape, payload_);
        EXPECT_EQ(drain(device),
                  shapes::segments(shape, payload_, segment_size,
                                   checksum ? ChecksumState::to_fill : ChecksumState::verified));
      }
    }
  }
}

TEST_P(Offloads, EachKindFollowsItsBit) {
  const std::pair<OffloadFeatures, std::array<bool, 4>> table[] = {
      {{.checksum = true, .tso4 = true}, {true, false, false, false}},
      {{.checksum = true, .tso6 = true}, {false, true, false, false}},
      {{.checksum = true, .uso = true}, {false, false, true, true}},
  };
  const std::array<Shape, 4> all{Shape{}, Shape{.v6 = true}, Shape{.protocol = ip_protocol::udp},
                                 Shape{.protocol = ip_protocol::udp, .v6 = true}};
  if (!knows_uso()) GTEST_SKIP() << "the kernel has no UDP super-packets. This test was not run.";
  for (const auto& [wanted, whole] : table) {
    Device device = open(DeviceKind::tun, wanted);
    for (std::size_t i = 0; i < all.size(); ++i) {
      inject(all[i], payload_);
      EXPECT_EQ(drain(device).size(), whole[i] ? 1U : 5U) << all[i].name();
    }
  }
}

TEST_P(Offloads, CongestionWindowReducedNeedsItsBit) {
  const Shape shape{.flags = tcp_flag::ack | tcp_flag::cwr | tcp_flag::psh | tcp_flag::fin};
  Device device = open(DeviceKind::tun, {.checksum = true, .tso4 = true});
  inject(shape, payload_);
  EXPECT_EQ(drain(device), shapes::segments(shape, payload_, segment_size, ChecksumState::to_fill));
  device.set_offload({.checksum = true, .tso4 = true, .ecn = true}, ec);
  inject(shape, payload_);
  const Read got = read(device);
  EXPECT_EQ(got.header.type, 0x81);
  EXPECT_EQ(got.bytes, shapes::super_packet(shape, payload_));
}

TEST_P(Offloads, AChecksumToFillIsLeftOrFilled) {
  for (const Shape& shape : {Shape{}, Shape{.protocol = ip_protocol::udp, .v6 = true}}) {
    Device device = open(DeviceKind::tun, {.checksum = true});
    const Packet packet = shapes::super_packet(shape, payload_);
    PacketOffload left = shapes::offload_of(shape, segment_size);
    left.kind = SegmentKind::none;
    left.segment_size = left.header_length = 0;
    world().inject("tp0", packet, left);
    const Read got = read(device);
    EXPECT_EQ(got.bytes, packet);
    EXPECT_EQ(got.header.offload_of(got.bytes, DeviceKind::tun, {}), left);
    device.set_offload({}, ec);
    world().inject("tp0", packet, left);
    const Read filled = read(device);
    EXPECT_EQ(filled.bytes, shapes::datagram(shape, payload_));
    EXPECT_EQ(filled.header.flags, 0);
  }
}

TEST_P(Offloads, TruncationIsNoticedBehindTheFraming) {
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  const std::size_t size = shapes::super_packet({}, payload_).size();
  for (const auto& [room, truncated] : {std::pair{size, false}, {size - 1, true}, {std::size_t{0}, true}}) {
    inject({}, payload_);
    const Read got = read(device, room);
    EXPECT_EQ(got.result.truncated, truncated) << room;
    EXPECT_EQ(got.result.size, std::min(room, size));
  }
  inject({}, payload_);
  Packet small(10);
  EXPECT_EQ(device.read_framed(small).error, EINVAL);
  EXPECT_EQ(drain(device).size(), 1U) << "the packet was not taken";
  EXPECT_EQ(io().read(device.fileno(), small.data(), 9), -EAGAIN);
  inject({}, payload_);
  EXPECT_EQ(io().read(device.fileno(), small.data(), 9), -EINVAL);
  EXPECT_EQ(drain(device).size(), 0U) << "the kernel does not keep the packet";
}

TEST_P(Offloads, PacketInformationComesBeforeTheHeader) {
  const DeviceOptions options{.packet_information = true, .offload = OffloadFeatures::all()};
  Device device = Device::open(DeviceKind::tun, "tp0", options, system());
  set_up("tp0", true);
  EXPECT_EQ(device.capabilities().framing, 14U);
  const Shape shape{.v6 = true};
  inject(shape, payload_);
  Packet buffer(5000);
  const ReadResult result = device.read_framed(buffer);
  EXPECT_EQ(load_be32(buffer, 0), 0x86ddU);
  EXPECT_EQ(load_u8(buffer, 4), 1) << "needs its checksum";
  EXPECT_EQ(load_u8(buffer, 5), 4) << "TCP over IPv6";
  world().listen("tp0");
  EXPECT_EQ(device.write_framed(Bytes{buffer}.first(14 + result.size)), 0);
  const auto written = world().collect_packet("tp0");
  ASSERT_TRUE(written);
  EXPECT_EQ(written->bytes, shapes::super_packet(shape, payload_));
  EXPECT_EQ(written->offload, shapes::offload_of(shape, segment_size));
}

}  // namespace
}  // namespace tunport::contract
