#include "tunport/wire/ethernet.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"

namespace tunport {
namespace {

using namespace packets;

const std::string addresses = "020000000002 020000000001 ";

TEST(EthernetView, Fields) {
  DropReason why{};
  const Buffer bytes = hex(addresses + "86dd 616263");
  const auto frame = EthernetView::checked(bytes, why);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->destination(), host_mac);
  EXPECT_EQ(frame->source(), kernel_mac);
  EXPECT_EQ(frame->ethertype(), ethertype::ipv6);
  EXPECT_EQ(frame->header_length(), 14U);
  EXPECT_EQ(frame->tag_count(), 0U);
  EXPECT_EQ(as_text(frame->payload()), "abc");
  EXPECT_EQ(frame->bytes().data(), bytes.data());
}

struct Tagged {
  const char* behind_addresses;
  std::vector<VlanTag> tags;
  std::uint16_t ethertype;
  const char* payload;
};

// Made by hand after IEEE 802.1Q 9.3.
TEST(EthernetView, Tags) {
  const Tagged table[] = {
      {"8100 0007 0800 61", {{.vid = 7}}, 0x0800, "a"},
      {"8100 bfff 0806", {{.priority = 5, .drop_eligible = true, .vid = 4095}}, 0x0806, ""},
      {"88a8 0064 8100 e001 0800 6162",
       {{.tpid = 0x88a8, .vid = 100}, {.priority = 7, .vid = 1}},
       0x0800,
       "ab"},
      {"8100 0001 8100 0002 8100 0003 0800", {{.vid = 1}, {.vid = 2}}, 0x8100, "\x00\x03\x08\x00"},
  };
  for (const auto& row : table) {
    DropReason why{};
    const Buffer bytes = hex(addresses + row.behind_addresses);
    const auto frame = EthernetView::checked(bytes, why);
    ASSERT_TRUE(frame) << row.behind_addresses;
    std::vector<VlanTag> tags;
    for (std::size_t i = 0; i < frame->tag_count(); ++i) tags.push_back(frame->tag(i));
    EXPECT_EQ(tags, row.tags) << row.behind_addresses;
    EXPECT_EQ(frame->ethertype(), row.ethertype) << row.behind_addresses;
    EXPECT_EQ(frame->header_length(), 14 + 4 * row.tags.size()) << row.behind_addresses;
    if (row.ethertype != 0x8100) {
      EXPECT_EQ(as_text(frame->payload()), row.payload);
    }
    // The builder writes the bytes that were read: `emit` and the view agree.
    if (row.tags.size() == 1) {
      EXPECT_EQ(ethernet({.ethertype = row.ethertype}, row.payload, {row.tags[0]}), bytes);
    }
  }
}

TEST(EthernetView, CutAnywhereInTheHeader) {
  for (const char* rest : {"0800", "8100 0007 0800", "88a8 0064 8100 0007 0800"}) {
    const Buffer bytes = hex(addresses + rest);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      const Buffer cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      DropReason why{};
      EXPECT_FALSE(EthernetView::checked(cut, why)) << rest << " at " << n;
      EXPECT_EQ(why, DropReason::ethernet_short);
    }
    DropReason why{};
    const auto frame = EthernetView::checked(bytes, why);
    ASSERT_TRUE(frame);
    EXPECT_TRUE(frame->payload().empty());
  }
}

TEST(EthernetHeader, Emit) {
  Buffer out(EthernetHeader::size);
  EthernetHeader{host_mac, kernel_mac, ethertype::arp}.emit(out);
  EXPECT_EQ(out, hex(addresses + "0806"));
}

}  // namespace
}  // namespace tunport
