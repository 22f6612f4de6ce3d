#include "tunport/wire/icmp.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"

namespace tunport {
namespace {

using namespace packets;

// Captured from Linux 6.18: ping -c1 -s 16.
const Buffer ping = hex("0800f486 3a410001 dc06036b 00000000 e0c40900 00000000");
// Captured from Linux 6.18: the answer to a datagram for a port without a listener.
const Buffer unreachable =
    hex("03031120 00000000 450000235c6d40004011ca5a0a0000010a0000029c40002a000f890a74756e706f7274");

TEST(IcmpView, Echo) {
  DropReason why{};
  const auto message = IcmpView::checked(ping, why);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->type(), icmp_type::echo_request);
  EXPECT_EQ(message->code(), 0);
  EXPECT_EQ(message->echo_id(), 0x3a41);
  EXPECT_EQ(message->echo_sequence(), 1);
  EXPECT_EQ(message->rest(), IcmpHeader::echo_rest(0x3a41, 1));
  EXPECT_FALSE(message->is_error());
  EXPECT_EQ(to_hex(message->payload()), "dc06036b00000000e0c4090000000000");
}

TEST(IcmpView, PortUnreachable) {
  DropReason why{};
  const auto message = IcmpView::checked(unreachable, why);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->type(), icmp_type::destination_unreachable);
  EXPECT_EQ(message->code(), icmp_unreachable::port);
  EXPECT_TRUE(message->is_error());
  EXPECT_EQ(message->payload().size(), 35U);
}

// RFC 1122 3.2.2.
TEST(IcmpView, WhichTypesAreErrors) {
  const std::vector<int> errors = {3, 4, 5, 11, 12};
  for (int type = 0; type < 256; ++type) {
    DropReason why{};
    const Buffer bytes = icmp({.type = static_cast<std::uint8_t>(type)}, "");
    const auto message = IcmpView::checked(bytes, why);
    ASSERT_TRUE(message) << type;
    EXPECT_EQ(message->is_error(), std::find(errors.begin(), errors.end(), type) != errors.end()) << type;
  }
}

TEST(IcmpView, Refuses) {
  for (std::size_t n = 0; n < ping.size(); ++n) {
    const Buffer cut(ping.begin(), ping.begin() + static_cast<std::ptrdiff_t>(n));
    DropReason why{};
    const auto message = IcmpView::checked(cut, why);
    // Bytes of zero at the end make no difference to the sum.
    if (n >= 19) {
      EXPECT_TRUE(message) << n;
    } else {
      EXPECT_FALSE(message) << n;
      EXPECT_EQ(why, n < 8 ? DropReason::icmp_short : DropReason::icmp_bad_checksum) << n;
    }
  }
  DropReason why{};
  for (std::size_t i = 0; i < ping.size(); ++i) {
    Buffer flipped = ping;
    flipped[i] ^= std::byte{0x10};
    EXPECT_FALSE(IcmpView::checked(flipped, why)) << i;
    EXPECT_EQ(why, DropReason::icmp_bad_checksum) << i;
  }
  EXPECT_FALSE(IcmpView::checked(Buffer(8), why)) << "all zeros are an echo reply with a wrong checksum";
}

TEST(IcmpHeader, EmitWritesWhatTheKernelWrites) {
  Buffer out(IcmpHeader::size, std::byte{0xee});
  IcmpHeader{icmp_type::echo_request, 0, IcmpHeader::echo_rest(0x3a41, 1)}.emit(out, Bytes{ping}.subspan(8));
  EXPECT_EQ(to_hex(out), to_hex(Bytes{ping}.first(8)));
  IcmpHeader{icmp_type::destination_unreachable, icmp_unreachable::port}.emit(out,
                                                                              Bytes{unreachable}.subspan(8));
  EXPECT_EQ(to_hex(out), to_hex(Bytes{unreachable}.first(8)));
}

}  // namespace
}  // namespace tunport
