#include "tunport/wire/ipv6.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport {
namespace {

using namespace packets;

// Written by hand after RFC 8200 3: UDP (empty) from fd00::1 to fd00::2.
const Buffer packet =
    hex("6b854321 0008 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002"
        "9c40 002a 0008 0000");

/// The packet with these bytes between header and payload.
Buffer with_extensions(std::uint8_t next_header, const Buffer& extensions) {
  Buffer bytes = packet;
  bytes.insert(bytes.begin() + Ipv6Header::size, extensions.begin(), extensions.end());
  store_u8(bytes, 6, next_header);
  store_be16(bytes, 4, static_cast<std::uint16_t>(8 + extensions.size()));
  return bytes;
}

std::optional<Ipv6Upper> upper_of(const Buffer& bytes) {
  DropReason why{};
  const auto view = Ipv6View::checked(bytes, why);
  EXPECT_TRUE(view) << to_string(why);
  return view ? view->upper() : std::nullopt;
}

TEST(Ipv6View, Fields) {
  DropReason why{};
  const Buffer bytes = padded(packet, 60, std::byte{0xee});
  const auto view = Ipv6View::checked(bytes, why);
  ASSERT_TRUE(view) << to_string(why);
  EXPECT_EQ(view->traffic_class(), 0xb8);
  EXPECT_EQ(view->flow_label(), 0x54321U);
  EXPECT_EQ(view->next_header(), ip_protocol::udp);
  EXPECT_EQ(view->hop_limit(), 64);
  EXPECT_EQ(to_string(view->source()), "fd00::1");
  EXPECT_EQ(to_string(view->destination()), "fd00::2");
  EXPECT_EQ(view->payload().size(), 8U);
  EXPECT_EQ(view->bytes().size(), packet.size());
}

TEST(Ipv6View, Refuses) {
  DropReason why{};
  for (std::size_t size = 0; size < packet.size(); ++size) {
    EXPECT_FALSE(Ipv6View::checked(Bytes{packet}.first(size), why)) << size;
    EXPECT_EQ(why, size < 40 ? DropReason::ip_short : DropReason::ip_bad_total_length) << size;
  }
  EXPECT_FALSE(Ipv6View::checked(patched(packet, 0, hex("4b")), why));
  EXPECT_EQ(why, DropReason::ip_bad_version);
  EXPECT_FALSE(Ipv6View::checked(patched(packet, 4, hex("0009")), why));
  EXPECT_EQ(why, DropReason::ip_bad_total_length);
}

TEST(Ipv6View, UpperIsBehindTheExtensionHeaders) {
  struct Row {
    const char* what;
    std::uint8_t next_header;
    const char* extensions;
    std::optional<Ipv6Upper> upper;
  };
  const Row table[] = {
      {"none", 17, "", Ipv6Upper{17, 40}},
      {"no next header", 59, "", Ipv6Upper{59, 40}},
      {"hop-by-hop", 0, "1100010400000000", Ipv6Upper{17, 48}},
      {"all three, the second longer", 0,
       "2b00010400000000 3c02fd00 0000000000000000000000000000000000000000 1100010400000000",
       Ipv6Upper{17, 80}},
      {"routing that is not through", 43, "1100fd0100000000", std::nullopt},
      {"a fragment", 44, "1100000100000000", Ipv6Upper{44, 40}},
      {"a fragment behind hop-by-hop", 0, "2c00010400000000 1100000100000000", Ipv6Upper{44, 48}},
      {"authentication", 51, "1101000000000000", Ipv6Upper{51, 40}},
      {"just to the end", 0, "1101010400000000", Ipv6Upper{17, 56}},
      {"beyond the end", 0, "1102010400000000", std::nullopt},
      {"its length beyond the end", 60, "3c00010400000000 3c00010400000000 0001", std::nullopt},
      {"hop-by-hop behind another", 60, "0000010400000000 1100010400000000", Ipv6Upper{0, 48}},
      {"hop-by-hop twice", 0, "0000010400000000 1100010400000000", Ipv6Upper{0, 48}},
  };
  for (const auto& row : table)
    EXPECT_EQ(upper_of(with_extensions(row.next_header, hex(row.extensions))), row.upper) << row.what;
}

TEST(Ipv6View, AChainThatGoesOnEndsWithThePacket) {
  Buffer extensions;
  const Buffer more = hex("3c00010400000000");  // destination options, and destination options behind
  for (int i = 0; i < 4000; ++i) extensions.insert(extensions.end(), more.begin(), more.end());
  EXPECT_EQ(upper_of(with_extensions(60, extensions)), std::nullopt);
}

TEST(Ipv6Header, EmitWritesWhatTheViewReads) {
  Buffer out(Ipv6Header::size, std::byte{0xee});
  Ipv6Header{.traffic_class = 0xb8,
             .flow_label = 0xfff54321,
             .next_header = ip_protocol::udp,
             .source = IpAddress::parse("fd00::1")->v6(),
             .destination = IpAddress::parse("fd00::2")->v6(),
             .payload_length = 8}
      .emit(out);
  EXPECT_EQ(to_hex(out), to_hex(Bytes{packet}.first(40)));
}

}  // namespace
}  // namespace tunport
