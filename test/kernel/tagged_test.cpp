// Super-packets with VLAN tags, hidden from sockets: with the tag in the packet, or beside the packet as the
// kernel keeps it.
#include <string>
#include <vector>

#include "tunport/offload/virtio_header_internal.hpp"

#include "kernel/port_kit.hpp"
#include "support/shape.hpp"

namespace tunport::sandbox {
namespace {

using shapes::Buffer;
using shapes::Shape;

Buffer copy_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

/// Takes whole super-packets.
class Accepter : public FrameProtocol {
 public:
  bool accepts_super_packets() const override { return true; }
  void frame_received(const Packet& packet) override {
    if (load_be16(packet.bytes(), 12) != ethertype::vlan) return;  // the bridge's own
    frames.push_back(copy_of(packet.bytes()));
    offloads.push_back(packet.offload());
  }
  std::vector<Buffer> frames;
  std::vector<PacketOffload> offloads;
};

/// With the kernel's features, and as on a kernel before 6.2, without UDP super-packets.
class TaggedTest : public KernelTest, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    disable_ipv6();
  }
  void start(const std::string& name, FrameProtocol& its_protocol) {
    knows_uso = Device::open(DeviceKind::tap, "probe", {.offload = OffloadFeatures::all()})
                    .capabilities()
                    .offload.uso;
    OffloadFeatures offload = OffloadFeatures::all();
    offload.uso = GetParam();
    port = std::make_unique<TuntapPort>(loop.reactor(), DeviceKind::tap, name, its_protocol,
                                        PortOptions{.offload = offload});
    port->start_listening();
    links.set_up(name, true, ec);
    ASSERT_FALSE(ec) << ec.message();
  }
  bool turn_until(const std::function<bool()>& holds) {
    return wait_until([&] {
      loop.turn(milliseconds{2});
      return holds();
    });
  }
  /// The shapes whose super-packets the kernel supports.
  std::vector<Shape> all_shapes() const {
    std::vector<Shape> result;
    for (const std::uint8_t transport : {ip_protocol::tcp, ip_protocol::udp})
      for (const bool v6 : {false, true})
        if (transport == ip_protocol::tcp || knows_uso)
          result.push_back(
              {.protocol = transport, .v6 = v6, .kind = DeviceKind::tap, .tags = 1, .flags = tcp_flag::ack});
    return result;
  }
  /// True if the port takes a super-packet of `shape` whole.
  bool is_whole(const Shape& shape) const {
    return port->device().capabilities().offload.covers(shapes::offload_of(shape, 1400));
  }
  static Buffer framed(const Shape& shape, Bytes payload) {
    Buffer framed(virtio_header::size);
    virtio_header::encode(shapes::offload_of(shape, 1400), std::endian::native, framed);
    const Buffer packet = shapes::super_packet(shape, payload);
    framed.insert(framed.end(), packet.begin(), packet.end());
    return framed;
  }

  bool knows_uso = false;
  PollLoop loop;
  Keeper protocol;
  Accepter accepter;
  std::unique_ptr<TuntapPort> port;
  const Buffer payload = shapes::some_bytes(10'000);
};

INSTANTIATE_TEST_SUITE_P(Masks, TaggedTest, testing::Bool(),
                         [](const auto& uso) { return uso.param ? "all" : "all_but_uso"; });

TEST_P(TaggedTest, FromTheKernelTheyComeApartIntoTaggedDatagrams) {
  start("tp0", protocol);
  PacketSocket kernel{"tp0", true};
  std::vector<Buffer> got;
  protocol.on_frame = [&](const Packet& packet) { got.push_back(copy_of(packet.bytes())); };
  for (const Shape& tagged : all_shapes()) {
    SCOPED_TRACE(tagged.name());
    got.clear();
    const auto before = port->statistics().super_packets_in;
    ASSERT_EQ(kernel.send(framed(tagged, payload)), 0);
    const std::vector<Buffer> wanted = shapes::segments(tagged, payload, 1400);
    EXPECT_TRUE(turn_until([&] { return got.size() >= wanted.size(); }));
    EXPECT_EQ(got, wanted);
    EXPECT_EQ(port->statistics().super_packets_in - before, is_whole(tagged) ? 1U : 0U);
  }
}

TEST_P(TaggedTest, JoinedTheyReachTheKernelAsTheyWere) {
  start("tp0", protocol);
  PacketSocket kernel{"tp0", true};
  for (const Shape& tagged : all_shapes()) {
    SCOPED_TRACE(tagged.name());
    const std::vector<Buffer> segments = shapes::segments(tagged, payload, 1400);
    {
      const Cork cork{loop.reactor()};
      for (const Buffer& segment : segments) EXPECT_TRUE(port->write(segment));
    }
    Shape untagged = tagged;  // the kernel moves the tag out of the packet
    untagged.tags = 0;
    std::vector<Buffer> wanted{shapes::super_packet(untagged, payload)};
    if (!is_whole(tagged)) wanted = shapes::segments(untagged, payload, 1400);
    for (const Buffer& packet : wanted) {
      const auto received = kernel.receive();
      ASSERT_TRUE(received);
      const Bytes bytes = Bytes{*received}.subspan(virtio_header::size);
      DropReason why{};
      const auto left = virtio_header::decode(*received, std::endian::native, bytes, DeviceKind::tap, why);
      ASSERT_TRUE(left) << to_string(why);
      EXPECT_EQ(left->kind, is_whole(tagged) ? tagged.segment_kind() : SegmentKind::none);
      EXPECT_EQ(left->segment_size, is_whole(tagged) ? 1400 : 0);
      EXPECT_EQ(copy_of(bytes), packet);
    }
  }
}

// The kernel takes the tag off a received packet and keeps it beside the packet, and a bridge forwards the
// packet so. The driver puts the tag back in during the copy to the reader, and has to move the start of the
// checksum along.
TEST_P(TaggedTest, WithTheTagBesideThemTheyComeWithItInside) {
  start("tp1", accepter);
  Device in = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()});
  links.set_up("tp0", true, ec);
  const auto bridge = run({"ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"});
  if (bridge.status != 0) GTEST_SKIP() << "this kernel has no bridge: " << bridge.output;
  for (const char* const name : {"tp0", "tp1"})
    ASSERT_EQ(run({"ip", "link", "set", name, "master", "br0"}).status, 0);
  ASSERT_EQ(run({"ip", "link", "set", "br0", "up"}).status, 0);
  for (const Shape& tagged : all_shapes()) {
    SCOPED_TRACE(tagged.name());
    accepter.frames.clear();
    accepter.offloads.clear();
    ASSERT_EQ(in.write_framed(Bytes{framed(tagged, payload)}), 0);
    const bool whole = is_whole(tagged);
    std::vector<Buffer> wanted{shapes::super_packet(tagged, payload)};
    if (!whole) wanted = shapes::segments(tagged, payload, 1400, ChecksumState::to_fill);
    EXPECT_TRUE(turn_until([&] { return accepter.frames.size() >= wanted.size(); }));
    EXPECT_EQ(accepter.frames, wanted);
    PacketOffload left = shapes::offload_of(tagged, 1400);
    if (!whole) {
      left.kind = SegmentKind::none;
      left.segment_size = left.header_length = 0;
    }
    EXPECT_THAT(accepter.offloads, testing::Each(left));
  }
}

}  // namespace
}  // namespace tunport::sandbox
