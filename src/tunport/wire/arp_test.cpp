#include "tunport/wire/arp.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"

namespace tunport {
namespace {

using namespace packets;

// Captured from Linux 6.18: the kernel's reply to a neighbour on a veth pair.
const Buffer captured = hex("0001 0800 06 04 0002 02000000000b 0a000002 02000000000a 0a000001");

TEST(ArpView, Fields) {
  DropReason why{};
  const Buffer on_ethernet = padded(captured, 46);
  const auto arp = ArpView::checked(on_ethernet, why);
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation(), arp_operation::reply);
  EXPECT_EQ(arp->sender_mac(), mac("02:00:00:00:00:0b"));
  EXPECT_EQ(arp->sender_ip(), ip("10.0.0.2"));
  EXPECT_EQ(arp->target_mac(), mac("02:00:00:00:00:0a"));
  EXPECT_EQ(arp->target_ip(), ip("10.0.0.1"));
  EXPECT_EQ(arp->bytes().size(), ArpHeader::size) << "padding is not part of it";
}

TEST(ArpHeader, EmitWritesWhatTheKernelWrites) {
  Buffer out(ArpHeader::size, std::byte{0xee});
  ArpHeader{arp_operation::reply, mac("02:00:00:00:00:0b"), ip("10.0.0.2"), mac("02:00:00:00:00:0a"),
            ip("10.0.0.1")}
      .emit(out);
  EXPECT_EQ(out, captured);
}

TEST(ArpView, Malformed) {
  const std::pair<const char*, Buffer> table[] = {
      {"hardware type 6", patched(captured, 0, hex("0006"))},
      {"protocol type IPv6", patched(captured, 2, hex("86dd"))},
      {"hardware length 8", patched(captured, 4, hex("08"))},
      {"protocol length 16", patched(captured, 5, hex("10"))},
  };
  for (const auto& [what, bytes] : table) {
    DropReason why{};
    EXPECT_FALSE(ArpView::checked(bytes, why)) << what;
    EXPECT_EQ(why, DropReason::arp_malformed) << what;
  }
}

TEST(ArpView, CutAnywhere) {
  for (std::size_t n = 0; n < captured.size(); ++n) {
    const Buffer cut(captured.begin(), captured.begin() + static_cast<std::ptrdiff_t>(n));
    DropReason why{};
    EXPECT_FALSE(ArpView::checked(cut, why)) << n;
    EXPECT_EQ(why, DropReason::arp_malformed) << n;
  }
}

}  // namespace
}  // namespace tunport
