// The lifetime of bytes, checksums, and bounds.
#include <stdexcept>

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
using testing::ElementsAre;

constexpr OffloadFeatures all = OffloadFeatures::all();
constexpr Shape udp_shape{.protocol = ip_protocol::udp};

Buffer segment(Shape shape, std::uint32_t index, std::size_t payload) {
  shape.sequence += index * static_cast<std::uint32_t>(payload);
  shape.identification = static_cast<std::uint16_t>(shape.identification + index);
  return shapes::datagram(shape, some_bytes(payload, index));
}

/// The shape with another source address.
Shape flow(std::uint8_t number, Shape shape = udp_shape) {
  shape.source4 = Ipv4Address{0x0a010000U + number};
  return shape;
}

PacketOffload to_fill(const Shape& shape) {
  return {.checksum = ChecksumState::to_fill,
          .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
          .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
}

std::vector<std::size_t> sizes(Coalescer& coalescer) {
  std::vector<std::size_t> result;
  for (const auto& packet : flushed(coalescer)) result.push_back(packet.datagrams);
  return result;
}

/// The datagrams in each packet that the coalescer makes of `packets`.
std::vector<std::size_t> sizes_of(std::initializer_list<apart::Packet> packets,
                                  DeviceKind kind = DeviceKind::tun) {
  Coalescer coalescer{kind};
  for (const auto& packet : packets) EXPECT_TRUE(coalescer.add(packet.bytes, packet.left, Keep::copy, all));
  return sizes(coalescer);
}

std::vector<Shape> plain_shapes() {
  std::vector<Shape> result;
  for (const Shape& shape : shapes::all())
    if (!shape.extras) result.push_back(shape);
  return result;
}

TEST(CoalescerChecksums, AWrongOneIsNeverTrusted) {
  for (const Shape& shape : plain_shapes()) {
    const Buffer one = segment(shape, 0, 50);
    const Buffer two = segment(shape, 1, 50);
    const Buffer broken_one = patched(one, one.size() - 1, hex("77"));
    const Buffer broken_two = patched(two, two.size() - 1, hex("77"));
    EXPECT_THAT(sizes_of({{one}, {two}}, shape.kind), ElementsAre(2));
    EXPECT_THAT(sizes_of({{one}, {broken_two}}, shape.kind), ElementsAre(1, 1)) << shape.name();
    EXPECT_THAT(sizes_of({{broken_one}, {two}}, shape.kind), ElementsAre(1, 1)) << shape.name();
    // A new item begins behind a wrong datagram.
    EXPECT_THAT(sizes_of({{broken_one}, {two}, {segment(shape, 2, 50)}}, shape.kind), ElementsAre(1, 2));
    Coalescer coalescer{shape.kind};
    for (const Buffer* packet : {&one, &broken_two}) coalescer.add(*packet, {}, Keep::reference, all);
    EXPECT_THAT(flushed(coalescer), ElementsAre(apart::Packet{one}, apart::Packet{broken_two}));
    // The same by reference.
    Buffer large = segment(shape, 0, 1000);
    Buffer broken = segment(shape, 1, 1000);
    broken.back() ^= std::byte{1};
    for (Buffer* packet : {&large, &broken}) coalescer.add(*packet, {}, Keep::reference, all);
    EXPECT_THAT(sizes(coalescer), ElementsAre(1, 1));
    for (Buffer* packet : {&broken, &large}) coalescer.add(*packet, {}, Keep::reference, all);
    EXPECT_THAT(sizes(coalescer), ElementsAre(1, 1));
  }
}

/// The datagrams in each packet made of four datagrams, of which the third has a changed byte. The datagrams
/// take the usual way.
std::vector<std::size_t> sizes_with_changed(const Shape& shape, std::size_t payload, std::size_t at) {
  Coalescer coalescer{shape.kind};
  for (std::uint32_t i = 0; i < 4; ++i) {
    Buffer packet = segment(shape, i, payload);
    if (i == 2) packet[at] ^= std::byte{0x10};
    EXPECT_TRUE(coalescer.add(packet, {}, Keep::copy, all));
  }
  return sizes(coalescer);
}

// The third datagram and later take the short way.
TEST(CoalescerChecksums, NorOneThatComesInTheShortWay) {
  std::vector<std::size_t> payloads{1000};
  for (std::size_t payload = 1; payload <= 130; ++payload) payloads.push_back(payload);
  for (const Shape& shape : plain_shapes()) {
    for (const std::size_t payload : payloads) {
      SCOPED_TRACE(shape.name() + ", " + std::to_string(payload));
      Coalescer coalescer{shape.kind};
      for (std::uint32_t i = 0; i < 4; ++i)
        ASSERT_TRUE(coalescer.add(segment(shape, i, payload), {}, Keep::copy, all));
      const auto packets = flushed(coalescer);
      ASSERT_EQ(packets.size(), 1U);
      for (std::uint32_t i = 0; i < 4; ++i)
        ASSERT_EQ(apart::segments(packets[0], shape.kind)[i], apart::Packet{segment(shape, i, payload)});
      // The first, the last and an inner byte of the payload, and of the header ports and checksum.
      const std::size_t header = shape.header_length();
      for (const std::size_t at : {header, header + payload / 2, header + payload - 1,
                                   shape.transport_offset() + shape.checksum_offset()})
        ASSERT_THAT(sizes_with_changed(shape, payload, at), ElementsAre(2, 1, 1)) << at;
      if (payload % 60 != 40) continue;  // 40, 100 and 1000
      for (std::size_t at = shape.ip_offset(); at < header; ++at)
        ASSERT_THAT(sizes_with_changed(shape, payload, at), testing::SizeIs(testing::Ge(2))) << at;
    }
  }
}

TEST(CoalescerChecksums, NorAWrongIpv4Header) {
  for (const Shape& shape : {Shape{}, udp_shape}) {
    const Buffer one = segment(shape, 0, 50);
    const Buffer two = segment(shape, 1, 50);
    const Buffer broken_one = patched(one, 10, hex("1234"));
    const Buffer broken_two = patched(two, 10, hex("1234"));
    EXPECT_THAT(sizes_of({{one}, {broken_two}}), ElementsAre(1, 1));
    EXPECT_THAT(sizes_of({{broken_one}, {two}}), ElementsAre(1, 1));
    EXPECT_THAT(sizes_of({{broken_one}, {broken_two}}), ElementsAre(1, 1));
    EXPECT_THAT(sizes_of({{one, to_fill(shape)}, {two, to_fill(shape)}}), ElementsAre(1, 1))
        << "to be filled, but not with the pseudo-header's sum";
  }
}

TEST(CoalescerChecksums, VerifiedIsNotLookedAtAgain) {
  constexpr PacketOffload verified{.checksum = ChecksumState::verified};
  for (const Shape& shape : plain_shapes()) {
    const Buffer one = segment(shape, 0, 50);
    const Buffer two = segment(shape, 1, 50);
    const Buffer broken_one = patched(one, one.size() - 1, hex("77"));
    const Buffer broken_two = patched(two, two.size() - 1, hex("77"));
    EXPECT_THAT(sizes_of({{broken_one, verified}, {broken_two, verified}}, shape.kind), ElementsAre(2));
    EXPECT_THAT(sizes_of({{one}, {broken_two, verified}}, shape.kind), ElementsAre(2));
    EXPECT_THAT(sizes_of({{broken_one, verified}, {broken_two}}, shape.kind), ElementsAre(1, 1));
  }
}

TEST(CoalescerChecksums, ToFillJoinsIfTheRestIsRight) {
  for (const Shape& shape : plain_shapes()) {
    const auto unfilled = [&](std::uint32_t index) {
      Buffer packet = segment(shape, index, 50);
      shapes::put_pseudo_header_sum(packet, shape);
      return packet;
    };
    const PacketOffload left = to_fill(shape);
    EXPECT_THAT(sizes_of({{unfilled(0), left}, {unfilled(1), left}}, shape.kind), ElementsAre(2));
    EXPECT_THAT(sizes_of({{unfilled(0), left}, {segment(shape, 1, 50)}}, shape.kind), ElementsAre(2));
    EXPECT_THAT(sizes_of({{segment(shape, 0, 50)}, {unfilled(1), left}}, shape.kind), ElementsAre(2));
    const Buffer off_by_one =
        patched(unfilled(1), shape.transport_offset() + shape.checksum_offset(), hex("1234"));
    EXPECT_THAT(sizes_of({{unfilled(0), left}, {off_by_one, left}}, shape.kind), ElementsAre(1, 1));
    PacketOffload elsewhere = left;
    ++elsewhere.checksum_start;
    EXPECT_THAT(sizes_of({{unfilled(0), left}, {unfilled(1), elsewhere}}, shape.kind), ElementsAre(1, 1));
    EXPECT_THAT(sizes_of({{unfilled(0), elsewhere}, {unfilled(1), left}}, shape.kind), ElementsAre(1, 1));
  }
}

TEST(CoalescerChecksums, UdpWithoutOneJoinsNothing) {
  const Buffer one = patched(segment(udp_shape, 0, 50), 26, hex("0000"));
  const Buffer two = patched(segment(udp_shape, 1, 50), 26, hex("0000"));
  constexpr PacketOffload verified{.checksum = ChecksumState::verified};
  EXPECT_THAT(sizes_of({{one}, {two}}), ElementsAre(1, 1));
  EXPECT_THAT(sizes_of({{one, verified}, {two, verified}}), ElementsAre(1, 1));
  EXPECT_THAT(sizes_of({{segment(udp_shape, 0, 50)}, {two}, {segment(udp_shape, 2, 50)}}),
              ElementsAre(1, 1, 1));
}

TEST(CoalescerChecksums, OneThatComesOutAsZeroHasItsUsualForm) {
  // The payload makes the checksum 0: UDP sends 0xffff instead, TCP sends 0.
  for (const Shape& shape : {Shape{}, udp_shape, Shape{.v6 = true}}) {
    const auto zero_sum = [&](std::uint32_t index) {
      Shape here = shape;
      here.sequence += index * 2;
      here.identification = static_cast<std::uint16_t>(here.identification + index);
      const Buffer without = shapes::datagram(here, hex("0000"));
      const std::uint16_t checksum = load_be16(without, shape.transport_offset() + shape.checksum_offset());
      Buffer payload(2);
      store_be16(payload, 0, checksum);
      return shapes::datagram(here, payload);
    };
    const std::size_t field = shape.transport_offset() + shape.checksum_offset();
    const Buffer two = zero_sum(1);
    ASSERT_EQ(load_be16(two, field), shape.is_tcp() ? 0 : 0xffff);
    EXPECT_THAT(sizes_of({{zero_sum(0)}, {two}}), ElementsAre(2));
    EXPECT_THAT(sizes_of({{zero_sum(0)}, {patched(two, field, hex(shape.is_tcp() ? "ffff" : "0000"))}}),
                ElementsAre(1, 1));
  }
}

TEST(CoalescerOrder, AFragmentClosesAllBetweenItsAddresses) {
  for (const bool v6 : {false, true}) {
    const Shape tcp{.v6 = v6};
    Shape udp = tcp;
    udp.protocol = ip_protocol::udp;
    Shape elsewhere = tcp;
    elsewhere.destination4 = elsewhere.source4;
    elsewhere.destination6 = elsewhere.source6;
    Buffer fragment = segment(tcp, 9, 50);
    if (v6) {
      fragment[6] = std::byte{ip_protocol::ipv6_fragment};
    } else {
      fragment = patched(fragment, 6, hex("0010"));
    }
    EXPECT_THAT(sizes_of({{segment(tcp, 0, 50)},
                          {segment(udp, 0, 50)},
                          {segment(elsewhere, 0, 50)},
                          {fragment},
                          {segment(tcp, 1, 50)},
                          {segment(udp, 1, 50)},
                          {segment(elsewhere, 1, 50)}}),
                ElementsAre(1, 1, 2, 1, 1, 1));
  }
}

TEST(CoalescerOrder, WhatIsNotPlainJoinsNothingAndClosesItsFlow) {
  for (const Shape& shape : shapes::all()) {
    if (!shape.extras) continue;
    Shape plain = shape;
    plain.extras = false;
    EXPECT_THAT(sizes_of({{segment(shape, 0, 50)}, {segment(shape, 1, 50)}}, shape.kind), ElementsAre(1, 1));
    EXPECT_THAT(
        sizes_of({{segment(plain, 0, 50)}, {segment(shape, 1, 50)}, {segment(plain, 1, 50)}}, shape.kind),
        ElementsAre(1, 1, 1))
        << shape.name();
  }
}

TEST(CoalescerOrder, PaddingAndWrongLengthsJoinNothingAndCloseTheirFlow) {
  for (const Shape& shape : plain_shapes()) {
    const Buffer one = segment(shape, 0, 10);
    const Buffer two = segment(shape, 1, 10);
    const Buffer three = segment(shape, 2, 10);
    Buffer longer = two;
    longer.push_back({});
    Buffer cut = two;
    cut.pop_back();
    for (const Buffer& odd : {longer, cut})
      EXPECT_THAT(sizes_of({{one}, {odd}, {two}, {three}}, shape.kind), ElementsAre(1, 1, 2)) << shape.name();
  }
}

TEST(CoalescerOrder, WhatIsOfNoFlowClosesNothing) {
  Shape icmp;
  icmp.protocol = 1;
  const Buffer one = segment({}, 0, 50);
  const Buffer two = segment({}, 1, 50);
  EXPECT_THAT(sizes_of({{one}, {packets::icmp_echo({}, "x")}, {two}}), ElementsAre(2, 1));
  EXPECT_THAT(sizes_of({{one}, {hex("00")}, {hex("45")}, {hex("60 00")}, {two}}), ElementsAre(2, 1, 1, 1));
  const Shape tap{.kind = DeviceKind::tap};
  EXPECT_THAT(sizes_of({{segment(tap, 0, 50)},
                        {packets::arp_request(packets::host_ip)},
                        {hex("00")},
                        {patched(segment(tap, 1, 50), 12, hex("86dd"))},
                        {segment(tap, 1, 50)}},
                       DeviceKind::tap),
              ElementsAre(2, 1, 1, 1));
}

TEST(CoalescerBytes, CopiedOnesMayChangeAfterwards) {
  for (const std::size_t payload : {50U, 1400U}) {
    const Buffer one = segment({}, 0, payload);
    const Buffer two = segment({}, 1, payload);
    Coalescer coalescer{DeviceKind::tun};
    for (Buffer copy : {one, two}) {
      ASSERT_TRUE(coalescer.add(copy, {}, Keep::copy, all));
      std::fill(copy.begin(), copy.end(), std::byte{0xee});
    }
    EXPECT_THAT(apart::segments(flushed(coalescer), DeviceKind::tun),
                ElementsAre(apart::Packet{one}, apart::Packet{two}));
  }
}

TEST(CoalescerBytes, LargePayloadsStayWhereTheyAreByReference) {
  Shape last;
  last.sequence += 2 * 1400;
  const Buffer packets[] = {segment({}, 0, 1400), segment({}, 1, 1400), segment(last, 0, 20)};
  Coalescer coalescer{DeviceKind::tun};
  for (const Buffer& packet : packets) ASSERT_TRUE(coalescer.add(packet, {}, Keep::reference, all));
  coalescer.flush([&](const Coalesced& packet) {
    EXPECT_EQ(packet.datagrams, 3U);
    EXPECT_EQ(packet.size, 52U + 1400 + 1400 + 20);
    ASSERT_EQ(packet.parts.size(), 4U);
    EXPECT_EQ(packet.parts[0].iov_len, 52U);
    EXPECT_EQ(packet.parts[1].iov_base, packets[0].data() + 52);
    EXPECT_EQ(packet.parts[2].iov_base, packets[1].data() + 52);
    EXPECT_NE(packet.parts[3].iov_base, packets[2].data() + 52) << "small ones are copied";
    const auto segments = apart::segments(apart::packet_of(packet), DeviceKind::tun);
    EXPECT_THAT(segments, ElementsAre(apart::Packet{packets[0]}, apart::Packet{packets[1]}, testing::_));
    EXPECT_EQ(apart::essence(segments[2], DeviceKind::tun), apart::essence({packets[2]}, DeviceKind::tun));
  });
}

TEST(CoalescerBytes, AChecksumLeftToFillMayBeFilledWhileItIsReferredTo) {
  Shape behind_extensions = udp_shape;
  behind_extensions.v6 = behind_extensions.extras = true;
  for (const Shape& shape : {Shape{}, udp_shape, Shape{.v6 = true}, behind_extensions})
    for (const std::size_t start : {shape.transport_offset(), std::size_t{150}, std::size_t{1000}}) {
      Buffer packet = segment(shape, 0, 1400);
      const Buffer as_added = packet;
      PacketOffload left = to_fill(shape);
      left.checksum_start = static_cast<std::uint16_t>(start);
      Coalescer coalescer{DeviceKind::tun};
      ASSERT_TRUE(coalescer.add(packet, left, Keep::reference, all));
      store_be16(MutableBytes{packet}, start + left.checksum_offset, 0x1234);
      EXPECT_THAT(flushed(coalescer), ElementsAre(apart::Packet{as_added, left}))
          << shape.name() << ", " << start;
    }
}

TEST(CoalescerBytes, APacketInPartsIsOne) {
  for (const Shape& shape : plain_shapes()) {
    Coalescer coalescer{shape.kind};
    std::vector<apart::Packet> added;
    for (std::uint32_t i = 0; i < 4; ++i) {
      const Buffer packet = segment(shape, i, 300);
      const Bytes whole{packet};
      const std::size_t cut = 5 + i * 30;
      const Bytes parts[] = {whole.first(cut), {}, whole.subspan(cut, 7), whole.subspan(cut + 7)};
      ASSERT_TRUE(coalescer.add(parts, {}, all));
      added.push_back({packet});
    }
    const auto packets = flushed(coalescer);
    EXPECT_EQ(packets.size(), 1U) << shape.name();
    EXPECT_EQ(apart::segments(packets, shape.kind), added);
  }
}

TEST(CoalescerBytes, ThereIsRoomBeforeEachPacket) {
  Coalescer coalescer{DeviceKind::tun};
  for (std::uint32_t i = 0; i < 3; ++i)
    for (std::uint8_t number = 1; number <= 3; ++number)
      ASSERT_TRUE(coalescer.add(segment(flow(number), i, 1000), {}, Keep::copy, all));
  std::vector<apart::Packet> packets;
  coalescer.flush([&](const Coalesced& packet) {
    std::fill_n(static_cast<std::byte*>(packet.parts[0].iov_base) - Coalescer::headroom, Coalescer::headroom,
                std::byte{0xee});
    packets.push_back(apart::packet_of(packet));
  });
  EXPECT_EQ(apart::segments(packets, DeviceKind::tun).at(8), apart::Packet{segment(flow(3), 2, 1000)});
}

TEST(CoalescerBounds, UdpHas64Segments) {
  Coalescer coalescer{DeviceKind::tun};
  for (std::uint32_t i = 0; i < 130; ++i)
    ASSERT_TRUE(coalescer.add(segment(udp_shape, i, 10), {}, Keep::copy, all));
  EXPECT_THAT(sizes(coalescer), ElementsAre(64, 64, 2));
}

TEST(CoalescerBounds, AnIpPacketHas65535Bytes) {
  for (const Shape& shape : plain_shapes()) {
    const std::size_t headers = shape.header_length() - shape.ip_offset();
    const std::size_t payload = (65535 - headers) / 5;
    Coalescer coalescer{shape.kind};
    for (std::uint32_t i = 0; i < 5; ++i)
      ASSERT_TRUE(coalescer.add(segment(shape, i, payload), {}, Keep::copy, all));
    const std::size_t rest = 65535 - headers - 5 * payload;
    Shape last = shape;
    last.sequence += static_cast<std::uint32_t>(5 * payload);
    last.identification += 5;
    ASSERT_TRUE(coalescer.add(segment(last, 0, rest + 1), {}, Keep::copy, all));
    EXPECT_THAT(sizes(coalescer), ElementsAre(5, 1)) << shape.name();
  }
}

TEST(CoalescerBounds, FullAsksToBeFlushed) {
  // Full by items.
  Coalescer coalescer{DeviceKind::tun};
  for (std::uint8_t i = 0; i < Coalescer::max_items; ++i)
    ASSERT_TRUE(coalescer.add(segment(flow(i), 0, 10), {}, Keep::copy, all));
  EXPECT_FALSE(coalescer.add(segment(flow(100), 0, 10), {}, Keep::copy, all));
  EXPECT_TRUE(coalescer.add(segment(flow(7), 1, 10), {}, Keep::copy, all)) << "a flow that is there goes on";
  EXPECT_EQ(flushed(coalescer).size(), Coalescer::max_items);
  EXPECT_TRUE(coalescer.add(segment(flow(100), 0, 10), {}, Keep::copy, all));
  coalescer.clear();

  // Full by bytes, with a flow for each datagram.
  std::size_t added = 0;
  while (coalescer.add(segment(flow(static_cast<std::uint8_t>(added)), 0, 60000), {}, Keep::copy, all))
    ++added;
  EXPECT_EQ(added, Coalescer::default_capacity / 60092);
  EXPECT_EQ(coalescer.size(), added);
  coalescer.clear();

  // Full by bytes, within a flow.
  added = 0;
  while (coalescer.add(segment(udp_shape, static_cast<std::uint32_t>(added), 9000), {}, Keep::copy, all))
    ++added;
  EXPECT_GE(added * 9000, Coalescer::default_capacity * 9 / 10);
  EXPECT_EQ(apart::segments(flushed(coalescer), DeviceKind::tun).size(), added);

  // Full by parts: the bytes are referred to, not held.
  const Buffer payload = segment(udp_shape, 0, 600);
  added = 0;
  while (coalescer.add(payload, {}, Keep::reference, all)) ++added;
  EXPECT_GT(added, 900U);
  coalescer.flush([](const Coalesced& packet) { EXPECT_LE(packet.parts.size(), Coalescer::max_parts); });
}

TEST(CoalescerBounds, AnEmptyOneTakesWhatFits) {
  Coalescer coalescer{DeviceKind::tun, 1000};
  const Buffer fits = segment(udp_shape, 0, 1000 - Coalescer::headroom - 28);
  const Buffer too_long = segment(udp_shape, 0, 1000 - Coalescer::headroom - 27);
  EXPECT_FALSE(coalescer.add(too_long, {}, Keep::copy, all));
  EXPECT_TRUE(coalescer.add(fits, {}, Keep::copy, all));
  EXPECT_FALSE(coalescer.add(fits, {}, Keep::copy, all));
  EXPECT_EQ(coalescer.size(), 1U);
  EXPECT_THAT(flushed(coalescer), ElementsAre(apart::Packet{fits}));
  const Bytes parts[] = {Bytes{fits}.first(100), Bytes{fits}.subspan(100, 300)};
  EXPECT_TRUE(coalescer.add(parts, {}, all));
}

TEST(CoalescerBounds, AFlushEmptiesAlsoIfSendThrows) {
  Coalescer coalescer{DeviceKind::tun};
  coalescer.add(segment(flow(1), 0, 10), {}, Keep::copy, all);
  coalescer.add(segment(flow(2), 0, 10), {}, Keep::copy, all);
  EXPECT_THROW(coalescer.flush([](const Coalesced&) { throw std::runtime_error{"no"}; }), std::runtime_error);
  EXPECT_TRUE(coalescer.empty());
  EXPECT_TRUE(coalescer.add(segment(flow(1), 1, 10), {}, Keep::copy, all));
  EXPECT_THAT(sizes(coalescer), ElementsAre(1));
}

TEST(CoalescerBounds, ManyFlowsAtOnceFindTheirItems) {
  Coalescer coalescer{DeviceKind::tun};
  for (std::uint32_t round = 0; round < 10; ++round)
    for (std::uint8_t i = 0; i < Coalescer::max_items; ++i)
      ASSERT_TRUE(coalescer.add(segment(flow(i), round, 64), {}, Keep::copy, all));
  const auto packets = flushed(coalescer);
  ASSERT_EQ(packets.size(), Coalescer::max_items);
  for (std::uint8_t i = 0; i < Coalescer::max_items; ++i) {
    EXPECT_EQ(packets[i].datagrams, 10U);
    EXPECT_EQ(apart::segments(packets[i], DeviceKind::tun)[9], apart::Packet{segment(flow(i), 9, 64)});
  }
}

}  // namespace
}  // namespace tunport
