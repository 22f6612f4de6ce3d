#include <gtest/gtest.h>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using packets::hex;
using packets::padded;
using packets::patched;
using packets::to_hex;
using shapes::Buffer;
using shapes::Shape;

/// The offload of a plain datagram of a shape, with the checksum to fill.
PacketOffload to_fill(const Shape& shape) {
  return {.checksum = ChecksumState::to_fill,
          .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
          .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
}

TEST(CompleteChecksum, OfEachShape) {
  for (const Shape& shape : shapes::all())
    for (const std::size_t size : {0U, 1U, 2U, 99U, 1448U, 60000U}) {
      const Buffer complete = shapes::datagram(shape, shapes::some_bytes(size));
      Buffer packet = shapes::super_packet(shape, shapes::some_bytes(size));
      ASSERT_NE(packet, complete);
      complete_checksum(packet, to_fill(shape));
      EXPECT_EQ(to_hex(packet), to_hex(complete)) << shape.name() << ' ' << size;
    }
}

TEST(CompleteChecksum, ZeroIsSentInItsOtherFormByUdpOnly) {
  // The checksum over two zeros becomes the payload: the sum is then 0xffff.
  for (const std::uint8_t protocol : {ip_protocol::udp, ip_protocol::tcp}) {
    const Shape shape{.protocol = protocol};
    const std::size_t field = shape.transport_offset() + shape.checksum_offset();
    const Buffer zeros = shapes::datagram(shape, Buffer(2));
    Buffer packet = shapes::super_packet(shape, Bytes{zeros}.subspan(field, 2));
    complete_checksum(packet, to_fill(shape));
    EXPECT_EQ(load_be16(packet, field), protocol == ip_protocol::udp ? 0xffff : 0);
  }
}

TEST(CompleteChecksum, OfAProtocolThatNobodyKnows) {
  // The offsets alone count; here the offsets are odd.
  Buffer packet = hex("01 02 03 04 0000 05 06 07");
  complete_checksum(packet, {.checksum = ChecksumState::to_fill, .checksum_start = 1, .checksum_offset = 3});
  // 0203 + 0400 + 0005 + 0607 = 0c0f
  EXPECT_EQ(to_hex(packet), "01020304f3f0050607");
}

TEST(CompleteChecksum, AtThePacketsVeryEnd) {
  Buffer packet = hex("0102 0304 0000");
  complete_checksum(packet, {.checksum = ChecksumState::to_fill, .checksum_start = 4, .checksum_offset = 0});
  EXPECT_EQ(to_hex(packet), "01020304ffff");
}

TEST(PrepareChecksum, IsTheOppositeOfCompleting) {
  for (const Shape& shape : shapes::all())
    for (const std::size_t size : {1U, 1448U, 60000U}) {
      const Buffer complete = shapes::datagram(shape, shapes::some_bytes(size));
      Buffer packet = complete;
      const auto layout = find_layout(packet, shape.kind);
      ASSERT_TRUE(layout);
      PacketOffload offload{.checksum = ChecksumState::verified};
      prepare_checksum(packet, *layout, offload);
      EXPECT_EQ(offload, to_fill(shape)) << shape.name();
      EXPECT_EQ(to_hex(packet), to_hex(shapes::super_packet(shape, shapes::some_bytes(size))))
          << shape.name();
      complete_checksum(packet, offload);
      EXPECT_EQ(to_hex(packet), to_hex(complete)) << shape.name();
    }
}

TEST(VerifyChecksum, OfEachShapeAndOfEachBitThatIsWrong) {
  for (const Shape& shape : shapes::all()) {
    Buffer packet = padded(shapes::datagram(shape, as_bytes("odd")), 150, std::byte{0xee});
    const auto layout = find_layout(packet, shape.kind);
    ASSERT_TRUE(layout);
    EXPECT_TRUE(verify_checksum(packet, *layout)) << shape.name();
    for (std::size_t bit = 8 * layout->transport; bit < 8 * layout->end; ++bit) {
      packet[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      EXPECT_FALSE(verify_checksum(packet, *layout)) << shape.name() << ' ' << bit;
      packet[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    }
    packet[layout->ip + (shape.v6 ? 8U : 12U)] ^= std::byte{1};
    EXPECT_FALSE(verify_checksum(packet, *layout)) << shape.name() << ", the address";
  }
}

TEST(VerifyChecksum, OfADatagramWithoutOneSaysNothing) {
  for (const bool v6 : {false, true}) {
    const Shape shape{.protocol = ip_protocol::udp, .v6 = v6};
    const Buffer packet = patched(shapes::datagram(shape, as_bytes("tunport")),
                                  shape.transport_offset() + shape.checksum_offset(), hex("0000"));
    EXPECT_FALSE(verify_checksum(packet, *find_layout(packet, shape.kind)));
  }
}

TEST(VerifyChecksum, BothFormsOfZeroAreRight) {
  const Shape shape{};
  const std::size_t field = shape.transport_offset() + shape.checksum_offset();
  const Buffer zeros = shapes::datagram(shape, Buffer(2));
  const Buffer packet = shapes::datagram(shape, Bytes{zeros}.subspan(field, 2));
  ASSERT_EQ(load_be16(packet, field), 0);
  EXPECT_TRUE(verify_checksum(packet, *find_layout(packet, shape.kind)));
  EXPECT_TRUE(verify_checksum(patched(packet, field, hex("ffff")), *find_layout(packet, shape.kind)));
}

TEST(VerifyChecksum, ThePseudoHeaderOfWhatIsToBeFilledIsNoChecksum) {
  for (const Shape& shape : shapes::all()) {
    const Buffer packet = shapes::super_packet(shape, as_bytes("tunport"));
    EXPECT_FALSE(verify_checksum(packet, *find_layout(packet, shape.kind))) << shape.name();
  }
}

}  // namespace
}  // namespace tunport
