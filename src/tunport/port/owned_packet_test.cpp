#include "tunport/port/owned_packet.hpp"

#include "tunport/offload/rewrite.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;

class OwnedPackets : public SuperPackets {
 protected:
  ~OwnedPackets() override { other.reset(); }
  MemorySystem::Tunnel other_interface() { return kernel.tunnel("tun1"); }

  std::vector<OwnedPacket> kept;
};

TEST_F(OwnedPackets, ASuperPacketIsKeptWholeAndWrittenLater) {
  accepter.on_frame = [&](const Packet& packet) { kept.emplace_back(packet); };
  start(accepter);
  start_other({.system = kernel});
  const Shape shape{};
  inject(shape, 3000, 1000);
  clock.run_ready();
  inject(shape, 5000, 1000);  // over the bytes of the first
  clock.run_ready();
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(kept.front().datagrams(), 3U);
  EXPECT_EQ(kept.front().forward_to(*other), WriteResult::make_sent());
  EXPECT_FALSE(kept.front());
  EXPECT_THAT(other_interface().collect(),
              ElementsAre(shapes::super_packet(shape, shapes::some_bytes(3000))));
  EXPECT_EQ(kept.front().forward_to(*other), WriteResult::make_refused(DropReason::empty));
}

TEST_F(OwnedPackets, IntoADeviceWithoutOffloadInSegments) {
  accepter.on_frame = [&](const Packet& packet) { kept.emplace_back(packet); };
  start(accepter);
  start_other({.offload = OffloadFeatures::none(), .system = kernel});
  const Packets segments = inject(udp4, 3000, 1000);
  clock.run_ready();
  OwnedPacket moved = std::move(kept.front());
  EXPECT_FALSE(kept.front());
  EXPECT_THAT(kept.front().bytes(), IsEmpty());
  EXPECT_TRUE(moved.forward_to(*other));
  EXPECT_EQ(other_interface().collect(), segments);
}

TEST_F(OwnedPackets, UnderACorkTheBytesAreCopied) {
  accepter.on_frame = [&](const Packet& packet) { kept.emplace_back(packet); };
  start(accepter);
  start_other({.system = kernel});
  const Buffer datagram = shapes::datagram(tcp4, shapes::some_bytes(1400));
  interface().inject(datagram);
  clock.run_ready();
  {
    const Cork cork{clock};
    EXPECT_TRUE(kept.front().forward_to(*other));
    kept.clear();
  }
  EXPECT_THAT(other_interface().collect(), ElementsAre(datagram));
}

TEST_F(OwnedPackets, OfASpentPacketThereIsNone) {
  accepter.on_frame = [&](const Packet& packet) {
    packet.for_each_plain([&](const Packet& segment) { kept.emplace_back(segment); });
    kept.emplace_back(packet);
  };
  start(accepter);
  const Packets segments = inject(udp4, 250, 100);
  clock.run_ready();
  ASSERT_EQ(kept.size(), 4U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(copy(kept[i].bytes()), segments[i]);
  EXPECT_FALSE(kept[3]);
}

TEST_F(OwnedPackets, ACutOffPacketIsNotKept) {
  EXPECT_FALSE(OwnedPacket(Packet(as_bytes("cut"), true)));
  EXPECT_FALSE(OwnedPacket(Packet{}));
  EXPECT_TRUE(OwnedPacket(Packet(as_bytes("whole"))));
}

class MutableBytesOf : public OwnedPackets {};

TEST_F(MutableBytesOf, ASuperPacketAreRewrittenInPlaceAndForwarded) {
  Shape moved{};
  moved.source4 = Ipv4Address{0x0a090807};
  accepter.on_frame = [&](const Packet& packet) {
    EXPECT_TRUE(rewrite_ends(packet.mutable_bytes(), packet.offload(), DeviceKind::tun,
                             {moved.source(), moved.destination(), moved.source_port, 80}));
    EXPECT_TRUE(other->forward(packet));
  };
  start(accepter);
  start_other({.system = kernel});
  inject(Shape{}, 3000, 1000);
  clock.run_ready();
  EXPECT_THAT(other_interface().collect(),
              ElementsAre(shapes::super_packet(moved, shapes::some_bytes(3000))));
}

TEST_F(MutableBytesOf, ASegmentDoNotReachTheNextSegment) {
  std::vector<Buffer> seen;
  accepter.on_frame = [&](const Packet& packet) {
    packet.for_each_plain([&](const Packet& segment) {
      seen.push_back(copy(segment.bytes()));
      for (std::byte& byte : segment.mutable_bytes()) byte = std::byte{0xee};
    });
  };
  start(accepter);
  const Packets segments = inject(udp4, 250, 100);
  clock.run_ready();
  EXPECT_EQ(seen, segments);
}

TEST_F(MutableBytesOf, BytesElsewhereAreNone) {
  EXPECT_THAT(Packet(as_bytes("text")).mutable_bytes(), IsEmpty());
  accepter.on_frame = [&](const Packet& packet) {
    EXPECT_EQ(packet.mutable_bytes().data(), packet.bytes().data());
    EXPECT_THAT(packet.with_bytes(as_bytes("text")).mutable_bytes(), IsEmpty());
  };
  start(accepter);
  interface().inject(shapes::datagram(tcp4, {}));
  clock.run_ready();
  EXPECT_EQ(accepter.frames.size(), 1U);
}

}  // namespace
}  // namespace tunport
