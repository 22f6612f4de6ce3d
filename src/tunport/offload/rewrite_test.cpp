#include "tunport/offload/rewrite.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/rewrite_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using packets::to_hex;
using shapes::Buffer;
using shapes::Shape;

/// The shape with other addresses, and another source port.
Shape moved(Shape shape) {
  shape.source4 = Ipv4Address{0xc6336407};
  shape.destination4 = Ipv4Address{0xcb007101};
  shape.source6 = Ipv6Address{{0x20, 1, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34}};
  shape.destination6 = Ipv6Address{{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9}};
  shape.source_port = 1025;
  return shape;
}

FlowEnds ends_of(const Shape& shape) {
  return {shape.source(), shape.destination(), shape.source_port,
          static_cast<std::uint16_t>(shape.is_tcp() ? 80 : 53)};
}

TEST(RewriteEnds, ACompleteChecksumStaysRight) {
  for (const Shape& shape : shapes::all())
    for (const std::size_t size : {0U, 1U, 100U, 1448U}) {
      SCOPED_TRACE(shape.name() + " of " + std::to_string(size));
      const Buffer payload = shapes::some_bytes(size);
      Buffer packet = shapes::datagram(shape, payload);
      EXPECT_TRUE(rewrite_ends(packet, {}, shape.kind, ends_of(moved(shape))));
      EXPECT_EQ(to_hex(packet), to_hex(shapes::datagram(moved(shape), payload)));
    }
}

TEST(RewriteEnds, OfASuperPacketTheChecksumIsToBeFilledStill) {
  for (const Shape& shape : shapes::all()) {
    SCOPED_TRACE(shape.name());
    const Buffer payload = shapes::some_bytes(60'000);
    Buffer packet = shapes::super_packet(shape, payload);
    EXPECT_TRUE(rewrite_ends(packet, shapes::offload_of(shape, 1000), shape.kind, ends_of(moved(shape))));
    EXPECT_EQ(packet, shapes::super_packet(moved(shape), payload));
  }
}

TEST(RewriteEnds, AWrongChecksumStaysWrong) {
  for (const Shape& shape : shapes::all()) {
    SCOPED_TRACE(shape.name());
    Buffer packet = shapes::datagram(shape, shapes::some_bytes(99));
    packet.back() ^= std::byte{1};
    EXPECT_TRUE(rewrite_ends(packet, {}, shape.kind, ends_of(moved(shape))));
    EXPECT_FALSE(verify_checksum(packet, *find_layout(packet, shape.kind)));
    packet.back() ^= std::byte{1};
    EXPECT_TRUE(verify_checksum(packet, *find_layout(packet, shape.kind)));
  }
}

TEST(RewriteEnds, UdpWithoutAChecksumHasNone) {
  const Shape shape{.protocol = ip_protocol::udp};
  Buffer packet = shapes::datagram(shape, shapes::some_bytes(9));
  const std::size_t field = shape.transport_offset() + shape.checksum_offset();
  store_be16(packet, field, 0);
  EXPECT_TRUE(rewrite_ends(packet, {}, shape.kind, ends_of(moved(shape))));
  EXPECT_EQ(load_be16(packet, field), 0);
}

TEST(RewriteEnds, AChecksumOfZeroIsSentInItsOtherFormByUdp) {
  // The source port is chosen so that the sum becomes 0xffff, and the checksum 0.
  const Shape shape{.protocol = ip_protocol::udp};
  Buffer packet = shapes::datagram(shape, shapes::some_bytes(8));
  const std::size_t field = shape.transport_offset() + shape.checksum_offset();
  FlowEnds ends = ends_of(shape);
  ends.source_port = static_cast<std::uint16_t>(Checksum{}.add(packets::hex("0000")).fold() +
                                                shape.source_port + load_be16(packet, field));
  if (shape.source_port + load_be16(packet, field) > 0xffff) ++ends.source_port;
  EXPECT_TRUE(rewrite_ends(packet, {}, shape.kind, ends));
  EXPECT_EQ(load_be16(packet, field), 0xffff);
  EXPECT_TRUE(verify_checksum(packet, *find_layout(packet, shape.kind)));
}

TEST(RewriteEnds, RefusesWhatHasNoEnds) {
  const Shape shape{};
  const FlowEnds ends = ends_of(moved(shape));
  const Buffer whole = shapes::datagram(shape, shapes::some_bytes(20));
  const auto refused = [&](Buffer packet, const FlowEnds& wanted) {
    const Buffer before = packet;
    EXPECT_FALSE(rewrite_ends(packet, {}, DeviceKind::tun, wanted));
    EXPECT_EQ(packet, before);
  };
  refused({}, ends);
  refused(Buffer(whole.begin(), whole.begin() + 39), ends);         // a header cut off
  refused(packets::patched(whole, 6, packets::hex("2000")), ends);  // a fragment
  refused(packets::patched(whole, 9, packets::hex("01")), ends);    // ICMP
  refused(whole, {Ipv6Address{}, Ipv6Address{}, 1, 2});             // the other family
  refused(whole, {Ipv4Address{}, Ipv6Address{}, 1, 2});             // two families
  refused(shapes::datagram({.v6 = true, .extras = true, .segments_left = 1}, {}),
          {// under way
           Ipv6Address{}, Ipv6Address{}, 1, 2});
}

RC_GTEST_PROP(RewriteEnds, EqualsABuildFromScratch, ()) {
  const auto all = shapes::all();
  Shape shape = all[*rc::gen::inRange<std::size_t>(0, all.size())];
  shape.source4 = Ipv4Address{*rc::gen::arbitrary<std::uint32_t>()};
  shape.source_port = *rc::gen::arbitrary<std::uint16_t>();
  Shape other = shape;
  other.source4 = Ipv4Address{*rc::gen::arbitrary<std::uint32_t>()};
  other.destination4 = Ipv4Address{*rc::gen::arbitrary<std::uint32_t>()};
  other.destination6 = Ipv6Address{*rc::gen::arbitrary<std::array<std::uint8_t, 16>>()};
  other.source_port = *rc::gen::arbitrary<std::uint16_t>();
  const Buffer payload = shapes::some_bytes(*rc::gen::inRange<std::size_t>(0, 300));
  Buffer packet = shapes::datagram(shape, payload);
  RC_ASSERT(rewrite_ends(packet, {}, shape.kind, ends_of(other)));
  // Both forms of zero are right; nothing else may differ.
  RC_ASSERT(verify_checksum(packet, *find_layout(packet, shape.kind)));
  Buffer expected = shapes::datagram(other, payload);
  const std::size_t field = shape.transport_offset() + shape.checksum_offset();
  store_be16(packet, field, 0);
  store_be16(expected, field, 0);
  RC_ASSERT(packet == expected);
}

TEST(RewriteQuoted, ChangesWhatIsThere) {
  for (const bool v6 : {false, true}) {
    const Shape shape{.v6 = v6};
    for (const std::size_t size : {std::size_t{8}, std::size_t{18}, std::size_t{32}}) {
      Buffer packet = shapes::datagram(shape, shapes::some_bytes(100));
      packet.resize(shape.transport_offset() + size);
      rewrite_quoted(packet,
                     {.transport = static_cast<std::uint32_t>(shape.transport_offset()),
                      .v6 = v6,
                      .protocol = shape.protocol},
                     ends_of(moved(shape)));
      Buffer expected = shapes::datagram(moved(shape), shapes::some_bytes(100));
      expected.resize(packet.size());
      EXPECT_EQ(to_hex(packet), to_hex(expected));
    }
  }
}

}  // namespace
}  // namespace tunport
