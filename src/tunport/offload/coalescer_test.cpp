#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "support/apart.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using apart::flushed;
using apart::mended;
using packets::Buffer;
using packets::hex;
using packets::patched;
using shapes::Shape;
using shapes::some_bytes;

constexpr std::size_t segment_size = 100;

/// The shapes that may join: without options and extension headers.
std::vector<Shape> plain_shapes() {
  std::vector<Shape> result;
  for (const Shape& shape : shapes::all())
    if (!shape.extras) result.push_back(shape);
  return result;
}

/// A datagram of `payload` bytes, `segments` whole segments behind the shape's own.
Buffer segment(Shape shape, std::uint32_t segments, std::size_t payload = segment_size) {
  shape.sequence += segments * std::uint32_t{segment_size};
  shape.identification = static_cast<std::uint16_t>(shape.identification + segments);
  return shapes::datagram(shape, some_bytes(payload, segments));
}

/// A coalescer, and the datagrams added.
struct Burst {
  explicit Burst(DeviceKind device_kind = DeviceKind::tun) : kind{device_kind}, coalescer{device_kind} {}

  Burst& add(const Buffer& bytes, const PacketOffload& left = {}) {
    EXPECT_TRUE(coalescer.add(bytes, left, Keep::copy, device));
    added.push_back({bytes, left});
    return *this;
  }
  /// The number of datagrams in each packet. The packets must give back exactly the datagrams added.
  std::vector<std::size_t> sizes() {
    EXPECT_EQ(coalescer.size(), added.size());
    const auto packets = flushed(coalescer);
    std::vector<std::size_t> result;
    for (const auto& packet : packets) result.push_back(packet.datagrams);
    EXPECT_THAT(essences(apart::segments(packets, kind)),
                testing::UnorderedElementsAreArray(essences(added)));
    EXPECT_TRUE(coalescer.empty());
    return result;
  }
  std::vector<Buffer> essences(const std::vector<apart::Packet>& packets) const {
    std::vector<Buffer> result;
    for (const auto& packet : packets) result.push_back(apart::essence(packet, kind));
    return result;
  }

  DeviceKind kind;
  OffloadFeatures device = OffloadFeatures::all();
  Coalescer coalescer;
  std::vector<apart::Packet> added;
};

using Sizes = std::vector<std::size_t>;

/// The datagrams in each packet made of a datagram, `other`, and a datagram that might join the first two.
Sizes between(const Shape& shape, const Buffer& other, const PacketOffload& left = {}) {
  return Burst{shape.kind}.add(segment(shape, 0)).add(other, left).add(segment(shape, 2)).sizes();
}

const Sizes all_apart{1, 1, 1};

TEST(Coalescer, JoinsTheDatagramsOfAFlow) {
  for (const Shape& shape : plain_shapes()) {
    const Buffer payload = some_bytes(5 * segment_size + 7);
    Burst burst{shape.kind};
    for (const Buffer& datagram : shapes::segments(shape, payload, segment_size)) burst.add(datagram);
    const auto packets = flushed(burst.coalescer);
    ASSERT_EQ(packets.size(), 1U) << shape.name();
    EXPECT_EQ(packets[0].datagrams, 6U);
    EXPECT_EQ(packets[0].left, shapes::offload_of(shape, segment_size)) << shape.name();
    EXPECT_EQ(packets[0].bytes, shapes::super_packet(shape, payload)) << shape.name();
    EXPECT_EQ(packets[0].parts, 1U) << "written in a row they lie in a row";
  }
}

TEST(Coalescer, ASingleDatagramLeavesAsItCame) {
  for (const Shape& shape : shapes::all()) {
    const Buffer complete = segment(shape, 0);
    const Buffer to_fill = shapes::super_packet(shape, some_bytes(segment_size));
    PacketOffload left = shapes::offload_of(shape, 0);
    left.kind = SegmentKind::none;
    left.header_length = 0;
    for (const auto& packet :
         {apart::Packet{complete, {}}, apart::Packet{complete, {.checksum = ChecksumState::verified}},
          apart::Packet{to_fill, left},
          apart::Packet{patched(complete, complete.size() - 1, hex("77")), {}}}) {
      Burst burst{shape.kind};
      burst.add(packet.bytes, packet.left);
      EXPECT_THAT(flushed(burst.coalescer), testing::ElementsAre(packet)) << shape.name();
    }
  }
}

TEST(Coalescer, AShorterOneJoinsAndIsTheLast) {
  for (const Shape& shape : plain_shapes()) {
    Burst burst{shape.kind};
    burst.add(segment(shape, 0)).add(segment(shape, 1)).add(segment(shape, 2, 1));
    Shape next = shape;
    next.sequence += 2 * segment_size + 1;
    next.identification += 3;
    EXPECT_EQ(burst.add(segment(next, 0)).add(segment(next, 1)).sizes(), (Sizes{3, 2})) << shape.name();
  }
}

TEST(Coalescer, ALongerOneBeginsAnother) {
  for (const Shape& shape : plain_shapes())
    EXPECT_EQ(Burst{shape.kind}.add(segment(shape, 0)).add(segment(shape, 1, segment_size + 1)).sizes(),
              (Sizes{1, 1}))
        << shape.name();
}

TEST(Coalescer, NoPayloadJoinsNothing) {
  for (const Shape& shape : plain_shapes()) {
    EXPECT_EQ(between(shape, segment(shape, 1, 0)), all_apart) << shape.name();
    EXPECT_EQ(Burst{shape.kind}.add(segment(shape, 0, 0)).add(segment(shape, 0, 0)).sizes(), (Sizes{1, 1}));
  }
}

TEST(Coalescer, FlowsThatTakeTurnsJoinEachInThePlaceOfItsFirst) {
  for (const Shape& shape : plain_shapes()) {
    Shape other = shape;
    other.source4 = Ipv4Address{0x0a000009};
    other.source6 = other.destination6;
    Burst burst{shape.kind};
    for (std::uint32_t i = 0; i < 10; ++i) burst.add(segment(shape, i)).add(segment(other, i));
    const auto packets = flushed(burst.coalescer);
    ASSERT_EQ(packets.size(), 2U);
    for (const auto& packet : packets) {
      EXPECT_EQ(packet.datagrams, 10U);
      EXPECT_LE(packet.parts, 5U) << "in chunks";
    }
    EXPECT_EQ(burst.essences(apart::segments(packets[0], shape.kind))[1], burst.essences(burst.added)[2]);
    EXPECT_EQ(burst.essences(apart::segments(packets[1], shape.kind))[1], burst.essences(burst.added)[3]);
  }
}

TEST(Coalescer, PortsAndProtocolsTellFlowsApart) {
  const Shape udp{.protocol = ip_protocol::udp};
  const Buffer one = segment(udp, 0);
  const Buffer other_source = mended(patched(one, 20, hex("1234")), DeviceKind::tun);
  const Buffer other_destination = mended(patched(one, 22, hex("1234")), DeviceKind::tun);
  EXPECT_EQ(Burst{}
                .add(one)
                .add(other_source)
                .add(other_destination)
                .add(segment({}, 0))
                .add(one)
                .add(other_source)
                .add(other_destination)
                .add(segment({}, 1))
                .sizes(),
            (Sizes{2, 2, 2, 2}));
}

/// A change of a single byte of otherwise right headers.
struct Change {
  const char* what;
  std::size_t offset;  // from the IP header, or the transport header, or the packet
  std::uint8_t flip;
};

std::vector<Sizes> with_each(const Shape& shape, std::size_t from, std::initializer_list<Change> changes) {
  std::vector<Sizes> result;
  for (const Change& change : changes) {
    Buffer packet = segment(shape, 1);
    packet[from + change.offset] ^= std::byte{change.flip};
    result.push_back(between(shape, mended(packet, shape.kind)));
    EXPECT_EQ(result.back(), all_apart) << shape.name() << ", another " << change.what;
  }
  return result;
}

TEST(Coalescer, AnythingElseOfItsFlowClosesAnItem) {
  for (const Shape& shape : plain_shapes()) {
    if (shape.v6) {
      with_each(
          shape, shape.ip_offset(),
          {{"traffic class", 0, 0x08}, {"ECN mark", 1, 0x30}, {"flow label", 3, 1}, {"hop limit", 7, 1}});
    } else {
      with_each(shape, shape.ip_offset(),
                {{"TOS", 1, 0x40}, {"ECN mark", 1, 3}, {"don't fragment", 6, 0x40}, {"TTL", 8, 1}});
    }
    if (shape.is_tcp())
      with_each(shape, shape.transport_offset(),
                {{"sequence number", 4, 1},
                 {"sequence number", 7, 1},
                 {"acknowledgement", 8, 1},
                 {"reserved flag", 12, 1},
                 {"flag ECE", 13, tcp_flag::ece},
                 {"flag ACK", 13, tcp_flag::ack},
                 {"window", 15, 1},
                 {"urgent pointer", 19, 1},
                 {"time stamp", 24, 1},
                 {"time stamp", 31, 1}});
    if (shape.kind == DeviceKind::tap) {
      with_each(shape, 0, {{"destination MAC", 0, 2}, {"source MAC", 11, 2}});
      if (shape.tags > 0) with_each(shape, 12, {{"outer VLAN", 3, 2}, {"priority", 2, 0x20}});
      if (shape.tags > 1) with_each(shape, 16, {{"inner VLAN", 3, 2}});
    }
  }
}

TEST(Coalescer, PushIsTheLast) {
  for (const Shape& shape : plain_shapes()) {
    if (!shape.is_tcp()) continue;
    Shape push = shape;
    push.flags |= tcp_flag::psh;
    Burst burst{shape.kind};
    burst.add(segment(shape, 0)).add(segment(push, 1)).add(segment(shape, 2)).add(segment(shape, 3));
    EXPECT_EQ(burst.sizes(), (Sizes{2, 2})) << shape.name();
    EXPECT_EQ(Burst{shape.kind}.add(segment(push, 0)).add(segment(shape, 1)).sizes(), (Sizes{1, 1}));
  }
}

TEST(Coalescer, OtherFlagsJoinNothing) {
  for (const std::uint8_t flag : {tcp_flag::fin, tcp_flag::syn, tcp_flag::rst, tcp_flag::urg}) {
    Shape shape;
    shape.flags |= flag;
    EXPECT_EQ(between({}, segment(shape, 1)), all_apart);
    EXPECT_EQ(Burst{}.add(segment(shape, 0)).add(segment(shape, 1)).sizes(), (Sizes{1, 1}));
  }
}

TEST(Coalescer, OnlyTheFirstCarriesCwr) {
  Shape shape;
  shape.flags |= tcp_flag::cwr | tcp_flag::ece;
  Shape rest;
  rest.flags |= tcp_flag::ece;
  Burst burst;
  burst.add(segment(shape, 0)).add(segment(rest, 1)).add(segment(shape, 2)).add(segment(rest, 3));
  EXPECT_EQ(burst.sizes(), (Sizes{2, 2}));
  burst.added.clear();
  burst.add(segment(shape, 0)).add(segment(rest, 1));
  EXPECT_TRUE(flushed(burst.coalescer).at(0).left.ecn);
  // A device without ECN gets no CWR super-packet.
  burst.added.clear();
  burst.device.ecn = false;
  EXPECT_EQ(burst.add(segment(shape, 0)).add(segment(rest, 1)).add(segment(rest, 2)).sizes(), (Sizes{1, 2}));
}

TEST(Coalescer, TheDeviceSaysWhatIsJoined) {
  for (const Shape& shape : plain_shapes()) {
    const bool tcp = shape.is_tcp();
    const std::pair<OffloadFeatures, bool> cases[] = {
        {OffloadFeatures::all(), true},
        {OffloadFeatures::none(), false},
        {{.checksum = true}, false},
        {{.checksum = true, .tso4 = true}, tcp && !shape.v6},
        {{.checksum = true, .tso6 = true}, tcp && shape.v6},
        {{.checksum = true, .uso = true}, !tcp},
    };
    for (const auto& [device, joins] : cases) {
      Burst burst{shape.kind};
      burst.device = device;
      EXPECT_EQ(burst.add(segment(shape, 0)).add(segment(shape, 1)).sizes(), joins ? Sizes{2} : (Sizes{1, 1}))
          << shape.name();
    }
  }
}

TEST(Coalescer, IdentificationsCountUpUnlessTheyMeanNothing) {
  for (const std::uint8_t protocol : {ip_protocol::tcp, ip_protocol::udp}) {
    const Shape shape{.protocol = protocol, .identification = 0xffff};
    const auto with = [&](std::uint32_t segments, const char* id, bool atomic) {
      Buffer packet = patched(segment(shape, segments), 4, hex(id));
      if (!atomic) packet = patched(packet, 6, hex("0000"));
      return mended(packet, DeviceKind::tun);
    };
    for (const char* id : {"ffff", "0000", "1234"})
      EXPECT_EQ(Burst{}.add(with(0, "ffff", true)).add(with(1, id, true)).sizes(), Sizes{2});
    EXPECT_EQ(Burst{}.add(with(0, "ffff", false)).add(with(1, "0000", false)).sizes(), Sizes{2});
    EXPECT_EQ(Burst{}.add(with(0, "ffff", false)).add(with(1, "ffff", false)).sizes(), (Sizes{1, 1}));
    EXPECT_EQ(Burst{}.add(with(0, "ffff", false)).add(with(1, "0001", false)).sizes(), (Sizes{1, 1}));
  }
}

TEST(Coalescer, ForgetsWhenItIsCleared) {
  Burst burst;
  burst.add(segment({}, 0));
  EXPECT_EQ(burst.coalescer.size(), 1U);
  EXPECT_EQ(burst.coalescer.bytes(), burst.added[0].bytes.size());
  burst.coalescer.clear();
  EXPECT_TRUE(burst.coalescer.empty());
  EXPECT_EQ(burst.coalescer.bytes(), 0U);
  burst.added.clear();
  EXPECT_EQ(burst.add(segment({}, 1)).sizes(), Sizes{1}) << "and does not join what is gone";
}

}  // namespace
}  // namespace tunport
