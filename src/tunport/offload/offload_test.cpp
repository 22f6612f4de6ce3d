#include "tunport/offload/offload.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(OffloadSetText, IsReadBack) {
  for (const OffloadSet& set :
       {OffloadSet::all(), OffloadSet::none(), OffloadSet{.checksum = true},
        OffloadSet{.checksum = true, .tso4 = true, .ecn = true}, OffloadSet{.checksum = true, .uso = true}})
    EXPECT_EQ(parse_offload_set(to_string(set)), set) << to_string(set);
  EXPECT_EQ(to_string(OffloadSet::all()), "checksum+tso4+tso6+ecn+uso");
  EXPECT_EQ(parse_offload_set("auto"), OffloadSet::all());
  EXPECT_EQ(to_string(OffloadSet::none()), "off");
  EXPECT_EQ(parse_offload_set("tso6+checksum"), (OffloadSet{.checksum = true, .tso6 = true}));
}

TEST(OffloadSetText, NothingElseIs) {
  for (const char* text : {"", "on", "+", "checksum+", "checksum+checksum", "checksum,tso4", "AUTO", "tso4",
                           "checksum+ecn", "off+checksum"})
    EXPECT_EQ(parse_offload_set(text), std::nullopt) << text;
}

TEST(OffloadSetTest, CoversWhatADeviceTakes) {
  const Offload to_fill{.checksum = ChecksumState::to_fill};
  EXPECT_TRUE(OffloadSet::none().covers({}));
  EXPECT_FALSE(OffloadSet::none().covers(to_fill));
  EXPECT_TRUE((OffloadSet{.checksum = true}.covers(to_fill)));
  const Offload tso4{.kind = SegmentKind::tcp4, .ecn = true, .segment_size = 100, .header_length = 40};
  EXPECT_TRUE(OffloadSet::all().covers(tso4));
  EXPECT_FALSE((OffloadSet{.checksum = true, .tso4 = true}.covers(tso4))) << "without ECN";
  EXPECT_FALSE((OffloadSet{.checksum = true, .tso6 = true, .ecn = true}.covers(tso4)));
}

TEST(OffloadTest, ASuperPacketIsSoManyDatagrams) {
  const Offload uso{.kind = SegmentKind::udp, .segment_size = 100, .header_length = 28};
  EXPECT_EQ(datagrams_in(28 + 1, uso), 1U);
  EXPECT_EQ(datagrams_in(28 + 100, uso), 1U);
  EXPECT_EQ(datagrams_in(28 + 101, uso), 2U);
  EXPECT_EQ(datagrams_in(1500, {}), 1U);
}

}  // namespace
}  // namespace tunport
