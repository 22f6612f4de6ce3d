#include <gtest/gtest.h>

#include "tunport/offload/layout_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using packets::Buffer;
using packets::hex;
using packets::padded;
using packets::patched;
using shapes::Shape;

const Bytes payload = as_bytes("tunport");

Layout layout_of(const Shape& shape, std::size_t payload_size) {
  return {.ip = static_cast<std::uint32_t>(shape.ip_offset()),
          .transport = static_cast<std::uint32_t>(shape.transport_offset()),
          .payload = static_cast<std::uint32_t>(shape.header_length()),
          .end = static_cast<std::uint32_t>(shape.header_length() + payload_size),
          .v6 = shape.v6,
          .protocol = shape.protocol};
}

TEST(FindLayout, OfEachShape) {
  for (const Shape& shape : shapes::all()) {
    const Buffer packet = shapes::datagram(shape, payload);
    EXPECT_EQ(find_layout(packet, shape.kind), layout_of(shape, payload.size())) << shape.name();
    EXPECT_EQ(find_layout(shapes::datagram(shape, {}), shape.kind), layout_of(shape, 0)) << shape.name();
  }
}

TEST(FindLayout, PaddingIsBeyondTheEnd) {
  for (const Shape& shape : shapes::all()) {
    const Buffer packet = padded(shapes::datagram(shape, payload), 200, std::byte{0xee});
    EXPECT_EQ(find_layout(packet, shape.kind), layout_of(shape, payload.size())) << shape.name();
  }
}

TEST(FindLayout, NothingOfWhatIsCut) {
  for (const Shape& shape : shapes::all()) {
    const Buffer packet = shapes::datagram(shape, payload);
    for (std::size_t size = 0; size < packet.size(); ++size) {
      // In a separate buffer the sanitizer sees the end.
      const Buffer cut(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(find_layout(cut, shape.kind)) << shape.name() << ' ' << size;
    }
  }
}

TEST(FindLayout, ALargestPacketBehindTwoTags) {
  const Shape shape{.v6 = true, .kind = DeviceKind::tap, .tags = 2};
  const std::size_t size = 65535 - (shape.header_length() - shape.ip_offset() - Ipv6Header::size);
  const auto layout = find_layout(shapes::datagram(shape, shapes::some_bytes(size)), DeviceKind::tap);
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->end, 14U + 8 + 40 + 65535);
}

TEST(FindLayout, ThreeTags) {
  const Shape shape{.kind = DeviceKind::tap, .tags = 3};
  EXPECT_EQ(find_layout(shapes::datagram(shape, payload), DeviceKind::tap), layout_of(shape, payload.size()));
}

TEST(FindLayout, NothingOfWhatItIsNotFor) {
  const Shape tcp4{};
  const Shape udp4{.protocol = ip_protocol::udp};
  const Shape tcp6{.v6 = true};
  const Shape tcp6_extras{.v6 = true, .extras = true};
  const Shape udp6{.protocol = ip_protocol::udp, .v6 = true};
  const Shape tap{.kind = DeviceKind::tap};
  const Shape tap6{.v6 = true, .kind = DeviceKind::tap, .tags = 1};
  struct Row {
    const char* what;
    Shape shape;
    std::size_t offset;
    const char* bytes;
  };
  const Row table[] = {
      {"version 5", tcp4, 0, "55"},
      {"version 4 in an IPv6 packet", tcp6, 0, "46"},
      {"IHL 4", tcp4, 0, "44"},
      {"IHL beyond the total length", udp4, 0, "4f"},
      {"total length below the header", tcp4, 2, "0013"},
      {"total length beyond the packet", tcp4, 2, "00ff"},
      {"total length that ends in the TCP header", tcp4, 2, "0027"},
      {"first fragment", tcp4, 6, "2000"},
      {"later fragment", tcp4, 6, "0001"},
      {"ICMP", tcp4, 9, "01"},
      {"payload length beyond the packet", tcp6, 4, "00ff"},
      {"payload length of a jumbogram", tcp6, 4, "0000"},
      {"fragment header", tcp6_extras, 40, "2c"},
      {"authentication header", tcp6_extras, 40, "33"},
      {"no next header", tcp6, 6, "3b"},
      {"extension header beyond the packet", tcp6_extras, 41, "ff"},
      {"last extension header that ends where the packet does", tcp6_extras, 73, "05"},
      {"routing header that is not yet through", tcp6_extras, 51, "01"},
      {"TCP data offset 4", tcp4, 32, "40"},
      {"TCP data offset beyond the packet", tcp4, 32, "f0"},
      {"UDP length 7", udp4, 24, "0007"},
      {"UDP length below the IP packet's", udp4, 24, "000e"},
      {"UDP length beyond the IP packet's", udp4, 24, "0010"},
      {"UDP length beyond the IPv6 packet's", udp6, 44, "0010"},
      {"ARP", tap, 12, "0806"},
      {"IEEE 802.3 length", tap, 12, "0030"},
      {"EtherType of IPv6, packet of IPv4", tap, 12, "86dd"},
      {"EtherType of IPv4, packet of IPv6", tap6, 16, "0800"},
      {"MPLS behind a tag", tap6, 16, "8847"},
  };
  for (const auto& row : table) {
    const Buffer packet = shapes::datagram(row.shape, payload);
    EXPECT_TRUE(find_layout(packet, row.shape.kind)) << row.what;
    EXPECT_FALSE(find_layout(patched(packet, row.offset, hex(row.bytes)), row.shape.kind)) << row.what;
  }
}

TEST(FindLayout, WhatIsEnRouteIsFoundWhereItsChecksumIsLeftToFill) {
  for (const Shape& shape : shapes::long_headers()) {
    const Buffer packet = shapes::datagram(shape, payload);
    Layout expected = layout_of(shape, payload.size());
    expected.en_route = shape.segments_left != 0;
    EXPECT_EQ(find_layout_to_fill(packet, shape.kind), expected) << shape.name();
    EXPECT_EQ(find_layout(packet, shape.kind).has_value(), !expected.en_route) << shape.name();
  }
  for (const Shape& shape : shapes::all())
    EXPECT_EQ(find_layout_to_fill(shapes::datagram(shape, payload), shape.kind),
              layout_of(shape, payload.size()));
  const Shape shape{.v6 = true, .extras = true, .segments_left = 1};
  const Buffer packet = shapes::datagram(shape, payload);
  EXPECT_FALSE(find_layout_to_fill(patched(packet, 41, hex("ff")), DeviceKind::tun));
}

TEST(FindHeadersEnd, OfEachShapeTheTransportHeader) {
  for (const auto& list : {shapes::all(), shapes::long_headers()})
    for (const Shape& shape : list)
      EXPECT_EQ(find_headers_end(shapes::datagram(shape, payload), shape.kind), shape.transport_offset())
          << shape.name();
}

TEST(FindHeadersEnd, OfWhatIsNoIpTheLinksHeader) {
  const Buffer frame = shapes::datagram({.kind = DeviceKind::tap}, payload);
  const Buffer tagged = shapes::datagram({.kind = DeviceKind::tap, .tags = 1}, payload);
  EXPECT_EQ(find_headers_end(patched(frame, 12, hex("0806")), DeviceKind::tap), 14U);
  EXPECT_EQ(find_headers_end(patched(tagged, 16, hex("0806")), DeviceKind::tap), 18U);
  EXPECT_EQ(find_headers_end(Bytes{frame}.first(10), DeviceKind::tap), 14U);
  EXPECT_EQ(find_headers_end(Bytes{frame}.first(14), DeviceKind::tap), 14U);
  EXPECT_EQ(find_headers_end({}, DeviceKind::tun), 0U);
  EXPECT_EQ(find_headers_end(hex("5500"), DeviceKind::tun), 0U);
  EXPECT_EQ(find_headers_end(hex("4f"), DeviceKind::tun), 60U);
  EXPECT_EQ(find_headers_end(hex("60"), DeviceKind::tun), 40U) << "cut off";
}

TEST(FindLayout, NothingOfTheOtherKindOfDevice) {
  EXPECT_FALSE(find_layout(shapes::datagram({}, payload), DeviceKind::tap));
  EXPECT_FALSE(find_layout(shapes::datagram({.kind = DeviceKind::tap}, payload), DeviceKind::tun));
}

TEST(FindLayout, DoesNotLookAtChecksums) {
  const Shape shape{};
  EXPECT_TRUE(find_layout(patched(shapes::datagram(shape, payload), 10, hex("0000")), DeviceKind::tun));
  EXPECT_TRUE(find_layout(patched(shapes::datagram(shape, payload), 36, hex("0000")), DeviceKind::tun));
}

}  // namespace
}  // namespace tunport
