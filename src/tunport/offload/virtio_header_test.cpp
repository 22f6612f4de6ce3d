#include <random>

#include <gtest/gtest.h>

#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
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

/// A header, field by field.
struct Fields {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t header_length = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;
};

Buffer bytes_of(const Fields& fields, std::endian order = std::endian::little, std::size_t size = 10) {
  Buffer header(size, std::byte{0xee});
  store_u8(header, 0, fields.flags);
  store_u8(header, 1, fields.gso_type);
  std::size_t at = 2;
  for (const std::uint16_t value :
       {fields.header_length, fields.gso_size, fields.checksum_start, fields.checksum_offset}) {
    const bool big = order == std::endian::big;
    store_u8(header, at++, static_cast<std::uint8_t>(big ? value >> 8 : value));
    store_u8(header, at++, static_cast<std::uint8_t>(big ? value : value >> 8));
  }
  return header;
}

std::optional<PacketOffload> decoded(const Fields& fields, Bytes packet, DeviceKind kind = DeviceKind::tun) {
  DropReason why{};
  const auto offload = virtio_header::decode(bytes_of(fields), std::endian::little, packet, kind, why);
  if (!offload) {
    EXPECT_EQ(why, DropReason::bad_offload);
  }
  return offload;
}

std::uint8_t gso_type_of(const Shape& shape) {
  if (!shape.is_tcp()) return virtio_header::gso_udp;
  return shape.v6 ? virtio_header::gso_tcp6 : virtio_header::gso_tcp4;
}

/// The kernel's header for a super-packet of the shape.
Fields fields_of(const Shape& shape, std::uint16_t segment_size) {
  return {.flags = virtio_header::needs_checksum,
          .gso_type = gso_type_of(shape),
          .header_length = static_cast<std::uint16_t>(shape.header_length()),
          .gso_size = segment_size,
          .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
          .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
}

TEST(VirtioHeader, AllZeroIsNothingToDo) {
  EXPECT_EQ(decoded({}, hex("45")), PacketOffload{});
  EXPECT_EQ(decoded({}, {}), PacketOffload{});
  DropReason why{};
  for (const std::size_t size : {10U, 12U, 24U})
    EXPECT_EQ(virtio_header::decode(bytes_of({}, std::endian::big, size), std::endian::big, {},
                                    DeviceKind::tun, why),
              PacketOffload{})
        << size;
}

TEST(VirtioHeader, FieldsThatNoFlagMeansAreNotLookedAt) {
  const Fields fields{
      .header_length = 0xffff, .gso_size = 0xffff, .checksum_start = 0xffff, .checksum_offset = 0xffff};
  EXPECT_EQ(decoded(fields, hex("45")), PacketOffload{});
}

TEST(VirtioHeader, ChecksumOfAPlainPacket) {
  const Buffer packet(40);
  EXPECT_EQ(decoded({.flags = 1, .checksum_start = 20, .checksum_offset = 6}, packet),
            (PacketOffload{.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 6}));
  EXPECT_EQ(decoded({.flags = 2, .checksum_start = 0xffff}, packet),
            PacketOffload{.checksum = ChecksumState::verified});
  // "To fill" counts more than "verified": the field has no checksum.
  EXPECT_EQ(decoded({.flags = 3, .checksum_start = 20, .checksum_offset = 6}, packet)->checksum,
            ChecksumState::to_fill);
  // The last possible place.
  EXPECT_TRUE(decoded({.flags = 1, .checksum_start = 38}, packet));
  EXPECT_TRUE(decoded({.flags = 1, .checksum_offset = 38}, packet));
}

TEST(VirtioHeader, AChecksumToFillSparesTheHeadersByWhichThePacketIsJudged) {
  for (const auto& list : {shapes::all(), shapes::long_headers()})
    for (const Shape& shape : list) {
      const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(100));
      const auto start = static_cast<std::uint16_t>(shape.transport_offset());
      for (std::uint16_t at = 0; at < start; ++at)
        EXPECT_FALSE(decoded({.flags = 1, .checksum_start = at}, packet, shape.kind)) << shape.name() << at;
      EXPECT_TRUE(decoded({.flags = 1, .checksum_start = start}, packet, shape.kind)) << shape.name();
      // In a tunnel, the inner transport header.
      const auto inner = static_cast<std::uint16_t>(start + 20);
      EXPECT_TRUE(decoded({.flags = 1, .checksum_start = inner}, packet, shape.kind)) << shape.name();
    }
}

TEST(VirtioHeader, SuperPacketsWithLongHeadersAndEnRoute) {
  for (const Shape& shape : shapes::long_headers()) {
    const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(1000));
    EXPECT_EQ(decoded(fields_of(shape, 300), packet, shape.kind), shapes::offload_of(shape, 300))
        << shape.name();
    Fields verified = fields_of(shape, 300);
    verified.flags = virtio_header::data_valid;
    EXPECT_EQ(decoded(verified, packet, shape.kind).has_value(), shape.segments_left == 0)
        << "there is no pseudo-header to make the segments' checksums with: " << shape.name();
  }
}

TEST(VirtioHeader, SuperPacketOfEachShape) {
  for (const Shape& shape : shapes::all())
    for (const std::uint8_t flags : {tcp_flag::ack, static_cast<std::uint8_t>(tcp_flag::ack | tcp_flag::cwr)})
      for (const std::endian order : {std::endian::little, std::endian::big}) {
        Shape flagged = shape;
        flagged.flags = flags;
        const Buffer packet = shapes::super_packet(flagged, shapes::some_bytes(1000));
        DropReason why{};
        Fields fields = fields_of(flagged, 300);
        if (flagged.is_tcp() && (flags & tcp_flag::cwr) != 0) fields.gso_type |= virtio_header::gso_ecn;
        EXPECT_EQ(virtio_header::decode(bytes_of(fields, order, 12), order, packet, shape.kind, why),
                  shapes::offload_of(flagged, 300))
            << shape.name();
        // The kernel's header length is a hint.
        fields.header_length = 0xffff;
        EXPECT_EQ(virtio_header::decode(bytes_of(fields, order, 12), order, packet, shape.kind, why),
                  shapes::offload_of(flagged, 300))
            << shape.name();
      }
}

TEST(VirtioHeader, VerifiedSuperPacket) {
  const Shape shape{};
  Fields fields = fields_of(shape, 300);
  fields.flags = virtio_header::data_valid;
  fields.checksum_start = fields.checksum_offset = 0;
  EXPECT_EQ(decoded(fields, shapes::datagram(shape, shapes::some_bytes(1000))),
            (PacketOffload{.kind = SegmentKind::tcp4,
                           .checksum = ChecksumState::verified,
                           .segment_size = 300,
                           .header_length = static_cast<std::uint16_t>(shape.header_length())}));
}

TEST(VirtioHeader, ASuperPacketOfOneSegmentIsPlain) {
  for (const Shape& shape : shapes::all())
    for (const std::size_t size : {0U, 1U, 300U}) {
      const PacketOffload plain{.checksum = ChecksumState::to_fill,
                                .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
                                .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
      EXPECT_EQ(
          decoded(fields_of(shape, 300), shapes::super_packet(shape, shapes::some_bytes(size)), shape.kind),
          plain)
          << shape.name() << ' ' << size;
    }
}

TEST(VirtioHeader, CwrIsThePacketsOwn) {
  Shape shape{};
  Fields fields = fields_of(shape, 300);
  fields.gso_type |= virtio_header::gso_ecn;
  EXPECT_FALSE(decoded(fields, shapes::super_packet(shape, shapes::some_bytes(1000)))->ecn);
  shape.flags |= tcp_flag::cwr;
  EXPECT_TRUE(decoded(fields_of(shape, 300), shapes::super_packet(shape, shapes::some_bytes(1000)))->ecn);
}

TEST(VirtioHeader, RefusesWhatDoesNotFitThePacket) {
  const Shape tcp4{};
  const Shape tcp6{.v6 = true};
  const Shape udp4{.protocol = ip_protocol::udp};
  const Shape tap{.kind = DeviceKind::tap, .tags = 1};
  struct Row {
    const char* what;
    Shape shape;
    void (*spoil)(Fields& fields, Buffer& packet);
  };
  const Row table[] = {
      {"checksum start beyond the packet", tcp4, [](Fields& f, Buffer&) { f.checksum_start = 0xffff; }},
      {"checksum offset beyond the packet", tcp4, [](Fields& f, Buffer&) { f.checksum_offset = 0xffff; }},
      {"checksum that ends beyond a plain packet", tcp4,
       [](Fields& f, Buffer& packet) {
         f.gso_type = 0;
         f.checksum_start = static_cast<std::uint16_t>(packet.size() - 1);
         f.checksum_offset = 0;
       }},
      {"checksum start and offset that wrap", tcp4,
       [](Fields& f, Buffer&) { f.gso_type = 0, f.checksum_start = 0xfff0, f.checksum_offset = 0x20; }},
      {"checksum of a plain packet of one byte", tcp4,
       [](Fields& f, Buffer& packet) {
         packet.resize(1);
         f = {.flags = 1};
       }},
      {"checksum start that is not the transport header's", tcp4,
       [](Fields& f, Buffer&) { f.checksum_start -= 4; }},
      {"checksum start that forgets the tag", tap, [](Fields& f, Buffer&) { f.checksum_start -= 4; }},
      {"checksum offset of UDP in TCP", tcp4, [](Fields& f, Buffer&) { f.checksum_offset = 6; }},
      {"checksum offset of TCP in UDP", udp4, [](Fields& f, Buffer&) { f.checksum_offset = 16; }},
      {"neither to fill nor verified", tcp4, [](Fields& f, Buffer&) { f.flags = 0; }},
      {"segments of no bytes", tcp4, [](Fields& f, Buffer&) { f.gso_size = 0; }},
      {"UFO", udp4, [](Fields& f, Buffer&) { f.gso_type = 3; }},
      {"no such kind", tcp4, [](Fields& f, Buffer&) { f.gso_type = 2; }},
      {"no such kind, 0x20", tcp4, [](Fields& f, Buffer&) { f.gso_type |= 0x20; }},
      {"ECN of nothing", tcp4, [](Fields& f, Buffer&) { f.gso_type = virtio_header::gso_ecn; }},
      {"ECN of UDP", udp4, [](Fields& f, Buffer&) { f.gso_type |= virtio_header::gso_ecn; }},
      {"TCP over IPv6 that is over IPv4", tcp4,
       [](Fields& f, Buffer&) { f.gso_type = virtio_header::gso_tcp6; }},
      {"TCP over IPv4 that is over IPv6", tcp6,
       [](Fields& f, Buffer&) { f.gso_type = virtio_header::gso_tcp4; }},
      {"UDP that is TCP", tcp4, [](Fields& f, Buffer&) { f.gso_type = virtio_header::gso_udp; }},
      {"TCP that is UDP", udp4, [](Fields& f, Buffer&) { f.gso_type = virtio_header::gso_tcp4; }},
      {"a fragment", tcp4, [](Fields&, Buffer& packet) { packet[6] = std::byte{0x20}; }},
      {"ICMP", tcp4, [](Fields&, Buffer& packet) { packet[9] = std::byte{1}; }},
      {"bytes behind the IP packet", tcp4, [](Fields&, Buffer& packet) { packet.resize(packet.size() + 1); }},
      {"bytes behind the IPv6 packet", tcp6,
       [](Fields&, Buffer& packet) { packet.resize(packet.size() + 1); }},
      {"a packet cut off", tcp4, [](Fields&, Buffer& packet) { packet.pop_back(); }},
      {"a packet of no bytes", tcp4, [](Fields& f, Buffer& packet) { packet.clear(), f.flags = 2; }},
      {"headers only, and those cut off", tcp4, [](Fields&, Buffer& packet) { packet.resize(50); }},
  };
  for (const auto& row : table) {
    Fields fields = fields_of(row.shape, 300);
    Buffer packet = shapes::super_packet(row.shape, shapes::some_bytes(1000));
    ASSERT_TRUE(decoded(fields, packet, row.shape.kind)) << row.what;
    row.spoil(fields, packet);
    EXPECT_FALSE(decoded(fields, packet, row.shape.kind)) << row.what;
  }
}

TEST(VirtioHeader, RefusesHeadersThatNobodyCanKeepAside) {
  // VLAN tags make headers arbitrarily long.
  for (std::size_t tags = 550; tags < 580; ++tags) {
    const Shape shape{.kind = DeviceKind::tap, .tags = tags};
    const auto offload =
        decoded(fields_of(shape, 300), shapes::super_packet(shape, shapes::some_bytes(1000)), shape.kind);
    EXPECT_EQ(offload.has_value(), shape.header_length() <= longest_headers) << tags;
  }
}

TEST(VirtioHeader, WhatIsEncodedIsDecoded) {
  for (const Shape& shape : shapes::all())
    for (const std::endian order : {std::endian::little, std::endian::big})
      for (const std::size_t size : {10U, 12U, 24U}) {
        const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(1000));
        const PacketOffload super = shapes::offload_of(shape, 300);
        PacketOffload plain{.checksum = ChecksumState::to_fill, .checksum_offset = 16};
        plain.checksum_start = super.checksum_start;
        for (const PacketOffload& offload :
             {super, plain, PacketOffload{.checksum = ChecksumState::verified}, PacketOffload{}}) {
          Buffer header(size, std::byte{0xee});
          virtio_header::encode(offload, order, header);
          DropReason why{};
          EXPECT_EQ(virtio_header::decode(header, order, packet, shape.kind, why), offload) << shape.name();
          EXPECT_EQ(Buffer(header.begin() + 10, header.end()), Buffer(size - 10));
        }
      }
}

TEST(VirtioHeader, EncodesAsTheKernelReadsIt) {
  const PacketOffload offload{.kind = SegmentKind::tcp6,
                              .checksum = ChecksumState::to_fill,
                              .ecn = true,
                              .segment_size = 0x0102,
                              .header_length = 0x0304,
                              .checksum_start = 0x0506,
                              .checksum_offset = 0x0708};
  Buffer header(12, std::byte{0xee});
  virtio_header::encode(offload, std::endian::little, header);
  EXPECT_EQ(to_hex(header), "018404030201060508070000");
  virtio_header::encode(offload, std::endian::big, header);
  EXPECT_EQ(to_hex(header), "018403040102050607080000");
}

TEST(VirtioHeader, NoBytesLeadOutOfThePacket) {
  // An accepted packet can be worked on, under the sanitizer. Most headers are nearly right.
  std::mt19937 random{1};
  const auto shapes = shapes::all();
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const Shape& shape = shapes[random() % shapes.size()];
    Buffer packet = shapes::super_packet(shape, shapes::some_bytes(random() % 200));
    Buffer header = bytes_of(fields_of(shape, static_cast<std::uint16_t>(random() % 100)));
    for (int spoilt = static_cast<int>(random() % 4); spoilt > 0; --spoilt) {
      Buffer& target = random() % 2 == 0 ? header : packet;
      target[random() % target.size()] = static_cast<std::byte>(random());
    }
    if (random() % 8 == 0) packet.resize(random() % packet.size());
    packet.shrink_to_fit();
    DropReason why{};
    const auto offload = virtio_header::decode(header, std::endian::little, packet, shape.kind, why);
    if (!offload) continue;
    ++accepted;
    if (!offload->is_super_packet()) continue;
    EXPECT_LT(offload->header_length, packet.size());
    Segmenter segmenter;
    segmenter.start(packet, *offload, shape.kind);
    EXPECT_EQ(segmenter.remaining(), datagrams_in(packet.size(), *offload));
    while (!segmenter.done()) segmenter.next_in_place(ChecksumState::verified);
  }
  EXPECT_GT(accepted, 2000U);
}

}  // namespace
}  // namespace tunport
