#include <functional>

#include <gtest/gtest.h>

#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using packets::to_hex;
using shapes::Buffer;
using shapes::Shape;

Buffer copy_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

/// The datagrams of a super-packet, taken by `next`.
std::vector<Buffer> taken(const Shape& shape, Buffer packet, std::size_t segment_size,
                          const std::function<Buffer(Segmenter&)>& next) {
  Segmenter segmenter;
  segmenter.start(packet, shapes::offload_of(shape, segment_size), shape.kind);
  std::vector<Buffer> result;
  const std::size_t expected = segmenter.remaining();
  while (!segmenter.done() && result.size() <= packet.size()) {
    EXPECT_EQ(segmenter.remaining(), expected - result.size());
    result.push_back(next(segmenter));
  }
  EXPECT_EQ(segmenter.remaining(), 0U);
  EXPECT_TRUE(next(segmenter).empty());
  return result;
}

Buffer taken_in_place(Segmenter& segmenter, ChecksumState wanted) {
  return copy_of(segmenter.next_in_place(wanted));
}

Buffer taken_into(Segmenter& segmenter, ChecksumState wanted) {
  // The byte before the buffer and the byte behind must stay.
  Buffer out(segmenter.largest() + 2, std::byte{0xee});
  const std::size_t size = segmenter.next_into(MutableBytes{out}.subspan(1, segmenter.largest()), wanted);
  EXPECT_EQ(out.front(), std::byte{0xee});
  for (std::size_t at = 1 + size; at < out.size(); ++at) EXPECT_EQ(out[at], std::byte{0xee});
  return copy_of(Bytes{out}.subspan(1, size));
}

void expect_same(const std::vector<Buffer>& found, const std::vector<Buffer>& expected,
                 const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_TRUE(found[i] == expected[i]) << what << ", datagram " << i << "\n"
                                         << to_hex(found[i]) << "\nis to be\n"
                                         << to_hex(expected[i]);
}

/// Every way agrees with the reference.
void check(const Shape& shape, std::size_t payload_size, std::size_t segment_size) {
  const std::string what =
      shape.name() + ", " + std::to_string(payload_size) + " by " + std::to_string(segment_size);
  const Buffer payload = shapes::some_bytes(payload_size, static_cast<std::uint32_t>(payload_size));
  const Buffer packet = shapes::super_packet(shape, payload);
  for (const ChecksumState wanted : {ChecksumState::verified, ChecksumState::to_fill}) {
    const auto expected = shapes::segments(shape, payload, segment_size, wanted);
    expect_same(taken(shape, packet, segment_size,
                      [=](Segmenter& segmenter) { return taken_in_place(segmenter, wanted); }),
                expected, what + ", in place");
    expect_same(taken(shape, packet, segment_size,
                      [=](Segmenter& segmenter) { return taken_into(segmenter, wanted); }),
                expected, what + ", into");
  }
  std::vector<Buffer> slices;
  for (std::size_t at = 0; at < payload_size; at += segment_size)
    slices.push_back(copy_of(Bytes{payload}.subspan(at, std::min(segment_size, payload_size - at))));
  expect_same(taken(shape, packet, segment_size,
                    [](Segmenter& segmenter) { return copy_of(segmenter.next_payload()); }),
              slices, what + ", payload");
}

TEST(Segmenter, IsTheReferenceForEachShapeAndSize) {
  for (const Shape& shape : shapes::all())
    for (const auto& [payload, segment] : std::initializer_list<std::pair<std::size_t, std::size_t>>{
             {2, 1}, {64, 1}, {65, 2}, {3000, 1000}, {3001, 1000}, {2999, 1000}, {999, 333}, {200, 199}})
      check(shape, payload, segment);
}

TEST(Segmenter, IsTheReferenceForLongHeadersAndThoseEnRoute) {
  for (const Shape& shape : shapes::long_headers())
    for (const auto& [payload, segment] :
         std::initializer_list<std::pair<std::size_t, std::size_t>>{{65, 2}, {3000, 1000}, {2999, 1000}})
      check(shape, payload, segment);
}

TEST(Segmenter, WithoutItsFinalAddressAVerifiedPacketStaysWhole) {
  const Shape shape{.v6 = true, .extras = true, .segments_left = 1};
  Buffer packet = shapes::datagram(shape, shapes::some_bytes(3000));
  PacketOffload offload = shapes::offload_of(shape, 1000);
  offload.checksum = ChecksumState::verified;
  Segmenter segmenter;
  segmenter.start(packet, offload, shape.kind);
  EXPECT_TRUE(segmenter.done());
}

TEST(Segmenter, IsTheReferenceFor64KiB) {
  for (const Shape& shape : shapes::all()) {
    const std::size_t largest = 65535 - (shape.header_length() - shape.ip_offset());
    check(shape, largest, 1448);
    check(shape, largest, 32768);
  }
}

TEST(Segmenter, CountsTheIdentificationOnBeyond65535Datagrams) {
  const Shape shape{.tcp_options = false};
  const std::size_t largest = 65535 - shape.header_length();
  const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(largest));
  Buffer work = packet;
  Segmenter segmenter;
  segmenter.start(work, shapes::offload_of(shape, 1), shape.kind);
  EXPECT_EQ(segmenter.remaining(), largest);
  for (std::size_t i = 0; i < largest; ++i)
    ASSERT_EQ(load_be16(segmenter.next_in_place(ChecksumState::verified), 4),
              static_cast<std::uint16_t>(shape.identification + i));
}

TEST(Segmenter, FlagsOfFirstAndLast) {
  for (const bool v6 : {false, true})
    for (unsigned flags = 0; flags < 256; ++flags)
      check({.v6 = v6, .flags = static_cast<std::uint8_t>(flags)}, 50, 20);
}

TEST(Segmenter, AUdpChecksumOfZeroIsItsOtherForm) {
  // The checksum of two zeros becomes the payload: the new checksum is zero.
  for (const bool v6 : {false, true}) {
    const Shape shape{.protocol = ip_protocol::udp, .v6 = v6};
    const Buffer zeros = shapes::datagram(shape, Buffer(2));
    const Bytes once = Bytes{zeros}.subspan(shape.transport_offset() + 6, 2);
    Buffer payload(8);
    std::copy(once.begin(), once.end(), payload.begin() + 2);
    Buffer packet = shapes::super_packet(shape, payload);
    Segmenter segmenter;
    segmenter.start(packet, shapes::offload_of(shape, 2), shape.kind);
    segmenter.next_payload();
    EXPECT_EQ(load_be16(segmenter.next_in_place(ChecksumState::verified), shape.transport_offset() + 6),
              0xffff);
    check(shape, 8, 2);
  }
}

TEST(Segmenter, TheWaysMayBeMixed) {
  for (const Shape& shape : shapes::all())
    for (const std::size_t segment_size : {1U, 7U, 40U, 300U}) {
      const Buffer payload = shapes::some_bytes(1000);
      const auto expected = shapes::segments(shape, payload, segment_size);
      int turn = 0;
      const auto found =
          taken(shape, shapes::super_packet(shape, payload), segment_size, [&](Segmenter& segmenter) {
            switch (turn++ % 3) {
              case 0:
                return taken_in_place(segmenter, ChecksumState::verified);
              case 1:
                return taken_into(segmenter, ChecksumState::verified);
              default:
                return copy_of(segmenter.next_payload());
            }
          });
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_EQ(to_hex(found[i]),
                  to_hex(i % 3 == 2 ? Bytes{expected[i]}.subspan(shape.header_length()) : Bytes{expected[i]}))
            << shape.name() << ' ' << segment_size << ' ' << i;
    }
}

TEST(Segmenter, StartsAgainAndAgain) {
  Segmenter segmenter;
  EXPECT_FALSE(segmenter.started());
  EXPECT_TRUE(segmenter.done());
  EXPECT_EQ(segmenter.remaining(), 0U);
  for (const Shape& shape : shapes::all()) {
    Buffer packet = shapes::super_packet(shape, shapes::some_bytes(100));
    const auto expected = shapes::segments(shape, shapes::some_bytes(100), 30);
    segmenter.start(packet, shapes::offload_of(shape, 30), shape.kind);
    EXPECT_TRUE(segmenter.started());
    EXPECT_EQ(copy_of(segmenter.next_in_place(ChecksumState::verified)), expected[0]);
    EXPECT_EQ(copy_of(segmenter.next_in_place(ChecksumState::verified)), expected[1]);
  }
  segmenter.reset();
  EXPECT_FALSE(segmenter.started());
  EXPECT_TRUE(segmenter.done());
  EXPECT_TRUE(segmenter.next_payload().empty());
}

TEST(Segmenter, AnErrorInTheIpHeaderStaysOne) {
  const Shape shape{};
  Buffer packet = shapes::super_packet(shape, shapes::some_bytes(100));
  packet[10] ^= std::byte{1};
  Segmenter segmenter;
  segmenter.start(packet, shapes::offload_of(shape, 30), shape.kind);
  DropReason why{};
  while (!segmenter.done()) {
    EXPECT_FALSE(Ipv4View::checked(segmenter.next_in_place(ChecksumState::verified), why));
    EXPECT_EQ(why, DropReason::ip_bad_checksum);
  }
}

TEST(Segmenter, NothingComesOfAPacketThatIsNotWhatIsSaid) {
  const Shape shape{};
  const PacketOffload right = shapes::offload_of(shape, 30);
  Segmenter segmenter;
  Buffer packet = shapes::super_packet(shape, shapes::some_bytes(100));
  for (const PacketOffload& offload :
       {PacketOffload{}, PacketOffload{.kind = SegmentKind::tcp4, .header_length = 52},
        PacketOffload{.kind = SegmentKind::tcp4, .segment_size = 30}}) {
    segmenter.start(packet, offload, shape.kind);
    EXPECT_TRUE(segmenter.next_payload().empty());
  }
  segmenter.start(packet, right, DeviceKind::tap);
  EXPECT_TRUE(segmenter.next_payload().empty());
  packet[9] = std::byte{1};
  segmenter.start(packet, right, shape.kind);
  EXPECT_TRUE(segmenter.next_payload().empty());
}

}  // namespace
}  // namespace tunport
