/// Super-packets and checksums left to fill: writing, and the kernel's trust in a header.

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include <gmock/gmock.h>

#include "contract/offload_contract.hpp"

namespace tunport::contract {
namespace {

constexpr int tun = IFF_TUN | IFF_NO_PI;

class OffloadWrites : public OffloadContract {};
TUNPORT_IN_BOTH_WORLDS(OffloadWrites);

TEST_P(OffloadWrites, SuperPacketsAreTakenWholeWhateverTheMask) {
  if (!knows_uso()) GTEST_SKIP() << "the kernel has no UDP super-packets. This test was not run.";
  for (const DeviceKind kind : {DeviceKind::tun, DeviceKind::tap}) {
    Device device = open(kind, {.checksum = true});
    world().listen("tp0");
    for (const Shape& shape : shapes::all()) {
      if (shape.kind != kind) continue;
      SCOPED_TRACE(shape.name());
      const PacketOffload left = shapes::offload_of(shape, segment_size);
      const Packet packet = shapes::super_packet(shape, payload_);
      EXPECT_EQ(write(device, MemoryVirtioHeader::of(left), packet), 0);
      const auto written = world().collect_packet("tp0");
      ASSERT_TRUE(written);
      if (shape.tags != 0) continue;  // the kernel shows the outermost tag apart from the packet
      EXPECT_EQ(written->bytes, packet);
      EXPECT_EQ(written->offload, left);
    }
  }
}

TEST_P(OffloadWrites, ThereAndBackByThePlainCalls) {
  const Shape shape{.v6 = true};
  for (const bool information : {false, true}) {
    const DeviceOptions options{.packet_information = information, .offload = OffloadFeatures::all()};
    Device device = Device::open(DeviceKind::tun, "tp0", options, system());
    set_up("tp0", true);
    const Packet packet = shapes::super_packet(shape, payload_);
    const PacketOffload left = shapes::offload_of(shape, segment_size);
    inject(shape, payload_);
    Packet buffer(5000);
    ReadResult result = device.read(buffer);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.offload, left);
    EXPECT_TRUE(std::ranges::equal(Bytes{buffer}.first(result.size), packet));
    inject(shape, payload_);
    result = device.read_framed(buffer);
    DropReason why{};
    const std::size_t framing = device.capabilities().framing;
    EXPECT_EQ(device.offload_of(Bytes{buffer}.first(framing + result.size), why), left);
    EXPECT_EQ(result.offload, PacketOffload{});
    inject(shape, payload_);
    result = device.read(MutableBytes{buffer}.first(100));
    EXPECT_TRUE(result.truncated);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.offload, PacketOffload{}) << "an offload does not describe a part";
    world().listen("tp0");
    EXPECT_EQ(device.write(packet, left), 0);
    const auto written = world().collect_packet("tp0");
    ASSERT_TRUE(written);
    EXPECT_EQ(written->bytes, packet);
    EXPECT_EQ(written->offload, left);
    EXPECT_EQ(device.write(shapes::datagram(shape, payload_)), 0);
    EXPECT_EQ(world().collect_packet("tp0")->offload, PacketOffload{});
    device.close();
  }
}

TEST_P(OffloadWrites, WithoutTheHeaderNothingCanBeTold) {
  Device device = open(DeviceKind::tun, {});
  const Packet packet = shapes::super_packet({}, payload_);
  PacketOffload left = shapes::offload_of({}, segment_size);
  EXPECT_EQ(device.write(packet, left), EOPNOTSUPP);
  left.kind = SegmentKind::none;
  EXPECT_EQ(device.write(packet, left), EOPNOTSUPP) << "a checksum to fill";
  EXPECT_EQ(device.write(shapes::datagram({}, payload_), {.checksum = ChecksumState::verified}), 0);
}

TEST_P(OffloadWrites, GatheredFromParts) {
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  world().listen("tp0");
  const Packet packet = shapes::super_packet({}, payload_);
  Packet framed(device.capabilities().framing);
  EXPECT_TRUE(device.emit_framing(framed, packet, shapes::offload_of({}, segment_size)));
  framed.insert(framed.end(), packet.begin(), packet.end());
  const std::array parts{iovec{framed.data(), 7}, iovec{framed.data() + 7, 60},
                         iovec{framed.data() + 67, framed.size() - 67}};
  EXPECT_EQ(device.write_framed(std::span<const iovec>{parts}), 0);
  EXPECT_EQ(world().collect("tp0"), packet);
}

/// A virtio header, trusted or not.
struct Claim {
  const char* what;
  MemoryVirtioHeader header;  ///< flags, type, header length, segment size, checksum start and offset
  int error;
  std::size_t size = 0;  ///< of the packet; 0: the whole packet
};

TEST_P(OffloadWrites, WhatIsBelievedOfTcp) {
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  const Shape shape{.tcp_options = false};
  const Packet packet = shapes::super_packet(shape, payload_);
  const auto size = static_cast<std::uint16_t>(packet.size());
  const Claim claims[] = {
      {"super-packet", {1, 1, 40, 100, 20, 16}, 0},
      {"no header length: a hint", {1, 1, 0, 100, 20, 16}, 0},
      {"all of the packet as header", {1, 1, size, 100, 20, 16}, 0},
      {"more header than packet", {1, 1, static_cast<std::uint16_t>(size + 1), 100, 20, 16}, EINVAL},
      {"the same without anything to do", {0, 0, static_cast<std::uint16_t>(size + 1), 0, 0, 0}, EINVAL},
      {"no checksum to fill", {0, 1, 40, 100, 0, 0}, 0},
      {"no segment size", {1, 1, 40, 0, 20, 16}, EINVAL},
      {"segments of fragments", {1, 1, 40, 0xffff, 20, 16}, EINVAL},
      {"segments longer than the packet", {1, 1, 40, 0xfffe, 20, 16}, 0},
      {"segments of one byte", {1, 1, 40, 1, 20, 16}, 0},
      {"with CWR", {1, 0x81, 40, 100, 20, 16}, 0},
      {"over IPv6", {1, 4, 60, 100, 20, 16}, EINVAL},
      {"UDP", {1, 5, 28, 100, 20, 16}, EINVAL},
      {"unknown type", {1, 2, 40, 100, 20, 16}, EINVAL},
      {"unknown type, nothing else", {0, 6, 0, 1, 0, 0}, EINVAL},
      {"CWR alone", {0, 0x80, 0, 100, 0, 0}, EINVAL},
      {"tunnel, not negotiated", {1, 0x21, 40, 100, 20, 16}, EINVAL},
      {"segment size without a type", {0, 0, 0, 100, 0, 0}, 0},
      {"checksum of UDP", {1, 1, 40, 100, 20, 6}, EINVAL},
      {"checksum where it is odd", {1, 1, 40, 100, 20, 17}, EINVAL},
      {"checksum within the IP header", {1, 1, 40, 100, 19, 16}, EINVAL},
      {"checksum from the start", {1, 0, 0, 0, 0, 16}, EINVAL},
      {"checksum beyond the packet", {1, 0, 0, 0, 20, size}, EINVAL},
      {"checksum in the last bytes", {1, 0, 0, 0, 20, static_cast<std::uint16_t>(size - 22)}, 0},
      {"checksum half beyond", {1, 0, 0, 0, 20, static_cast<std::uint16_t>(size - 21)}, EINVAL},
      {"checksum from beyond", {1, 0, 0, 0, size, 0}, EINVAL},
      {"offsets that add up to nothing", {1, 0, 0, 0, 0xffff, 0xffff}, EINVAL},
      {"offsets that add up to little", {1, 0, 0, 0, 0xfff0, 0x20}, EINVAL},
      {"verified", {2, 0, 0, 0, 0, 0}, 0},
      {"unknown flags", {0xf8, 0, 0, 0, 0, 0}, 0},
      {"headers cut off", {1, 1, 0, 100, 20, 16}, EINVAL, 39},
      {"headers alone", {1, 1, 0, 100, 20, 16}, 0, 40},
      {"headers cut off, no checksum", {0, 1, 0, 100, 0, 0}, EINVAL, 39},
      {"headers alone, no checksum", {0, 1, 0, 100, 0, 0}, 0, 40},
      {"headers of IPv6 cut off, no checksum", {0, 4, 0, 100, 0, 0}, EINVAL, 59},
  };
  for (const Claim& claim : claims) {
    const Bytes bytes = claim.size == 0 ? Bytes{packet} : Bytes{packet}.first(claim.size);
    EXPECT_EQ(write(device, claim.header, bytes), claim.error) << claim.what;
  }
}

TEST_P(OffloadWrites, WhatIsBelievedOfUdp) {
  if (!knows_uso()) GTEST_SKIP() << "the kernel has no UDP super-packets. This test was not run.";
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  const Shape shape{.protocol = ip_protocol::udp};
  const Packet packet = shapes::super_packet(shape, payload_);
  const Claim claims[] = {
      {"super-packet", {1, 5, 28, 100, 20, 6}, 0},
      {"no checksum to fill", {0, 5, 28, 100, 20, 6}, EINVAL},
      {"verified", {2, 5, 28, 100, 20, 6}, EINVAL},
      {"checksum of TCP", {1, 5, 28, 100, 20, 16}, EINVAL},
      {"with CWR", {1, 0x85, 28, 100, 20, 6}, EINVAL},
      {"64 segments", {1, 5, 28, 1, 20, 6}, 0, 28 + 64},
      {"far too many segments", {1, 5, 28, 1, 20, 6}, EINVAL},
      {"a single one", {1, 5, 28, 470, 20, 6}, 0},
      {"fragments of a datagram", {1, 3, 28, 100, 20, 6}, 0},
      {"headers cut off", {1, 5, 0, 100, 20, 6}, EINVAL, 27},
      {"headers alone", {1, 5, 0, 100, 20, 6}, 0, 28},
  };
  for (const Claim& claim : claims) {
    const Bytes bytes = claim.size == 0 ? Bytes{packet} : Bytes{packet}.first(claim.size);
    EXPECT_EQ(write(device, claim.header, bytes), claim.error) << claim.what;
  }
}

TEST_P(OffloadWrites, WhatIsBelievedOnTap) {
  Device device = open(DeviceKind::tap, OffloadFeatures::all());
  const Shape shape{.kind = DeviceKind::tap, .tcp_options = false};
  const Packet packet = shapes::super_packet(shape, payload_);
  const Claim claims[] = {
      {"super-packet", {1, 1, 54, 100, 34, 16}, 0},
      {"header length within Ethernet", {0, 0, 13, 0, 0, 0}, EINVAL},
      {"header length of Ethernet", {0, 0, 14, 0, 0, 0}, 0},
      {"checksum within Ethernet", {1, 0, 0, 0, 14, 16}, EINVAL},
      {"checksum within IP, counted from the frame's start", {1, 0, 0, 0, 19, 16}, EINVAL},
      {"the same one further", {1, 0, 0, 0, 20, 16}, 0},
      {"shorter than Ethernet", {}, EINVAL, 13},
  };
  for (const Claim& claim : claims) {
    const Bytes bytes = claim.size == 0 ? Bytes{packet} : Bytes{packet}.first(claim.size);
    EXPECT_EQ(write(device, claim.header, bytes), claim.error) << claim.what;
  }
}

TEST_P(OffloadWrites, TheHeaderIsTestedBeforeTheNibbleAndUp) {
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  set_up("tp0", false);
  Packet packet = shapes::super_packet({}, payload_);
  const MemoryVirtioHeader good = MemoryVirtioHeader::of(shapes::offload_of({}, segment_size));
  EXPECT_EQ(write(device, good, packet), EIO);
  MemoryVirtioHeader bad = good;
  bad.segment_size = 0;
  EXPECT_EQ(write(device, bad, packet), EINVAL);
  packet[0] = std::byte{0};
  EXPECT_EQ(write(device, good, packet), EINVAL);
}

TEST_P(OffloadWrites, BytesBehindTheCommonHeaderCountAsPacket) {
  leave_behind(tun | IFF_VNET_HDR, 0, 12);
  Device device = open(DeviceKind::tun, OffloadFeatures::all());
  const Packet packet = shapes::datagram({}, payload_);
  const auto size = static_cast<std::uint16_t>(packet.size());
  EXPECT_EQ(write(device, {.header_length = static_cast<std::uint16_t>(size + 2)}, packet), 0);
  EXPECT_EQ(write(device, {.header_length = static_cast<std::uint16_t>(size + 3)}, packet), EINVAL);
}

}  // namespace
}  // namespace tunport::contract
