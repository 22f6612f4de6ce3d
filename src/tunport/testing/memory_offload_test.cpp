#include <gtest/gtest.h>

#include "tunport/testing/memory_offload_internal.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using shapes::Shape;

// A checksum of 0 means "no checksum" in UDP, and is a normal checksum in TCP. Segmentation knows the
// difference; filling a single checksum ignores the protocol.
TEST(MemoryOffload, AChecksumOfZeroIsChangedForUdpOnlyWhereItIsSegmented) {
  for (const Shape& shape : {Shape{}, Shape{.v6 = true}, Shape{.protocol = ip_protocol::udp}}) {
    // A payload that makes the first segment's checksum 0, and more bytes.
    const std::size_t field = shape.transport_offset() + shape.checksum_offset();
    shapes::Buffer payload(4);
    const auto zeros = shapes::datagram(shape, Bytes{payload}.first(2));
    store_be16(payload, 0, load_be16(zeros, field));
    const auto segments =
        split(shapes::super_packet(shape, payload), shapes::offload_of(shape, 2), shape.kind, true);
    ASSERT_EQ(segments.size(), 2U);
    EXPECT_EQ(load_be16(segments[0].bytes, field), shape.is_tcp() ? 0 : 0xffff) << shape.name();
    EXPECT_EQ(segments[0].bytes, shapes::datagram(shape, Bytes{payload}.first(2)));

    auto single = shapes::super_packet(shape, Bytes{payload}.first(2));
    fill_checksum(single, segments[1].offload);
    EXPECT_EQ(load_be16(single, field),
              load_be16(shapes::super_packet(shape, Bytes{payload}.first(2)), field))
        << "nothing is left to fill";
    fill_checksum(single, {.checksum = ChecksumState::to_fill,
                           .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
                           .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())});
    EXPECT_EQ(load_be16(single, field), 0xffff) << shape.name();
  }
}

}  // namespace
}  // namespace tunport
