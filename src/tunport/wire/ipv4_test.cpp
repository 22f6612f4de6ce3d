#include "tunport/wire/ipv4.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/checksum.hpp"

namespace tunport {
namespace {

using namespace packets;

// Captured from Linux 6.18: ping -c1 -s 16.
const Buffer ping =
    hex("4500002c f8c44000 40012e0a 0a000001 0a000002 0800f486 3a410001 dc06036b 00000000 e0c40900 00000000");
// Captured from Linux 6.18: ping -c1 -s 16 -R, with the record route option.
const Buffer recorded =
    hex("4f000054 f8c54000 4001f1d0 0a000001 0a000002 01072708 0a000001 00000000 00000000 00000000 00000000 "
        "00000000"
        "00000000 00000000 00000000 0800bb7c 3a420001 dc06036b 00000000 19ce0900 00000000");

/// The packet with its header checksum made right.
Buffer sealed(Buffer packet) {
  store_be16(packet, 10, 0);
  const std::size_t header_length = (load_u8(packet, 0) & 0xfU) * 4;
  store_be16(packet, 10, internet_checksum(Bytes{packet}.first(header_length)));
  return packet;
}

TEST(Ipv4View, Fields) {
  DropReason why{};
  const auto packet = Ipv4View::checked(ping, why);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->header_length(), 20U);
  EXPECT_EQ(packet->tos(), 0);
  EXPECT_EQ(packet->total_length(), 44U);
  EXPECT_EQ(packet->identification(), 0xf8c4);
  EXPECT_TRUE(packet->dont_fragment());
  EXPECT_FALSE(packet->more_fragments());
  EXPECT_EQ(packet->fragment_offset(), 0U);
  EXPECT_FALSE(packet->is_fragment());
  EXPECT_EQ(packet->ttl(), 64);
  EXPECT_EQ(packet->protocol(), ip_protocol::icmp);
  EXPECT_EQ(packet->source(), ip("10.0.0.1"));
  EXPECT_EQ(packet->destination(), ip("10.0.0.2"));
  EXPECT_TRUE(packet->options().empty());
  EXPECT_EQ(to_hex(packet->payload()), to_hex(Bytes{ping}.subspan(20)));
}

TEST(Ipv4View, Options) {
  DropReason why{};
  const auto packet = Ipv4View::checked(recorded, why);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->header_length(), 60U);
  EXPECT_EQ(packet->options().size(), 40U);
  EXPECT_EQ(to_hex(packet->options().first(8)), "010727080a000001");
  EXPECT_EQ(to_hex(packet->payload()), "0800bb7c3a420001dc06036b0000000019ce090000000000");
}

TEST(Ipv4View, TypeOfServiceAndFragments) {
  struct Row {
    Ipv4Header header;
    int dscp, ecn;
    bool is_fragment;
  };
  const Row table[] = {
      {{.tos = 0xb8}, 46, 0, false},
      {{.tos = 0x03}, 0, 3, false},
      {{.dont_fragment = true}, 0, 0, false},
      {{.more_fragments = true}, 0, 0, true},
      {{.fragment_offset = 8}, 0, 0, true},
      {{.more_fragments = true, .fragment_offset = 65528}, 0, 0, true},
  };
  for (const auto& row : table) {
    DropReason why{};
    const Buffer bytes = ipv4(row.header, "payload");
    const auto packet = Ipv4View::checked(bytes, why);
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->tos(), row.header.tos);
    EXPECT_EQ(packet->dscp(), row.dscp);
    EXPECT_EQ(packet->ecn(), row.ecn);
    EXPECT_EQ(packet->dont_fragment(), row.header.dont_fragment);
    EXPECT_EQ(packet->more_fragments(), row.header.more_fragments);
    EXPECT_EQ(packet->fragment_offset(), row.header.fragment_offset);
    EXPECT_EQ(packet->is_fragment(), row.is_fragment);
  }
}

TEST(Ipv4View, PaddingIsNotPayload) {
  DropReason why{};
  const Buffer bytes = padded(ping, 100, std::byte{0xee});
  const auto packet = Ipv4View::checked(bytes, why);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes().size(), 44U);
  EXPECT_EQ(packet->payload().size(), 24U);
}

TEST(Ipv4View, RefusesInTheOrderOfTheChecks) {
  struct Row {
    const char* what;
    Buffer bytes;
    DropReason why;
  };
  const Row table[] = {
      {"nothing", {}, DropReason::ip_short},
      {"19 bytes of version 6", Buffer(19, std::byte{0x60}), DropReason::ip_short},
      {"version 6", patched(ping, 0, hex("65")), DropReason::ip_bad_version},
      {"version 0, IHL 0", patched(ping, 0, hex("00")), DropReason::ip_bad_version},
      {"IHL 0", patched(ping, 0, hex("40")), DropReason::ip_bad_header_length},
      {"IHL 4", sealed(patched(ping, 0, hex("44"))), DropReason::ip_bad_header_length},
      {"IHL 15 of 44 bytes", patched(ping, 0, hex("4f")), DropReason::ip_bad_header_length},
      {"total length 0", sealed(patched(ping, 2, hex("0000"))), DropReason::ip_bad_total_length},
      {"total length 19", sealed(patched(ping, 2, hex("0013"))), DropReason::ip_bad_total_length},
      {"total length 45", sealed(patched(ping, 2, hex("002d"))), DropReason::ip_bad_total_length},
      {"total length within the options", sealed(patched(recorded, 2, hex("003b"))),
       DropReason::ip_bad_total_length},
      {"checksum", patched(ping, 10, hex("0000")), DropReason::ip_bad_checksum},
      {"a bit of an option", patched(recorded, 59, hex("01")), DropReason::ip_bad_checksum},
  };
  for (const auto& row : table) {
    DropReason why{};
    EXPECT_FALSE(Ipv4View::checked(row.bytes, why)) << row.what;
    EXPECT_EQ(why, row.why) << row.what << ": " << to_string(why);
  }
}

TEST(Ipv4View, TotalLengthOfTheHeaderIsAnEmptyPayload) {
  DropReason why{};
  const Buffer bytes = sealed(patched(ping, 2, hex("0014")));
  const auto packet = Ipv4View::checked(bytes, why);
  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->payload().empty());
}

TEST(Ipv4View, CutAnywhere) {
  for (const Buffer& whole : {ping, recorded}) {
    const std::size_t header_length = (load_u8(whole, 0) & 0xfU) * 4;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const Buffer cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      DropReason why{};
      EXPECT_FALSE(Ipv4View::checked(cut, why)) << n;
      EXPECT_EQ(why, n < 20              ? DropReason::ip_short
                     : n < header_length ? DropReason::ip_bad_header_length
                                         : DropReason::ip_bad_total_length)
          << n;
    }
  }
}

TEST(Ipv4Header, EmitWritesWhatTheKernelWrites) {
  Buffer out(20, std::byte{0xee});
  Ipv4Header{.identification = 0xf8c4,
             .dont_fragment = true,
             .protocol = ip_protocol::icmp,
             .source = kernel_ip,
             .destination = host_ip,
             .payload_length = 24}
      .emit(out);
  EXPECT_EQ(to_hex(out), to_hex(Bytes{ping}.first(20)));

  Buffer with_options(60, std::byte{0xee});
  const Ipv4Header header{.identification = 0xf8c5,
                          .dont_fragment = true,
                          .protocol = ip_protocol::icmp,
                          .source = kernel_ip,
                          .destination = host_ip,
                          .options = Bytes{recorded}.subspan(20, 40),
                          .payload_length = 24};
  ASSERT_EQ(header.header_length(), 60U);
  header.emit(with_options);
  EXPECT_EQ(to_hex(with_options), to_hex(Bytes{recorded}.first(60)));
}

}  // namespace
}  // namespace tunport
