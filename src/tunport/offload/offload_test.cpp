#include "tunport/offload/offload.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(OffloadFeaturesText, IsReadBack) {
  for (const OffloadFeatures& set :
       {OffloadFeatures::all(), OffloadFeatures::none(), OffloadFeatures{.checksum = true},
        OffloadFeatures{.checksum = true, .tso4 = true, .ecn = true},
        OffloadFeatures{.checksum = true, .uso = true}})
    EXPECT_EQ(parse_offload_features(to_string(set)), set) << to_string(set);
  EXPECT_EQ(to_string(OffloadFeatures::all()), "checksum+tso4+tso6+ecn+uso");
  EXPECT_EQ(parse_offload_features("auto"), OffloadFeatures::all());
  EXPECT_EQ(to_string(OffloadFeatures::none()), "off");
  EXPECT_EQ(parse_offload_features("tso6+checksum"), (OffloadFeatures{.checksum = true, .tso6 = true}));
}

TEST(OffloadFeaturesText, NothingElseIs) {
  for (const char* text : {"", "on", "+", "checksum+", "checksum+checksum", "checksum,tso4", "AUTO", "tso4",
                           "checksum+ecn", "off+checksum"})
    EXPECT_EQ(parse_offload_features(text), std::nullopt) << text;
}

TEST(OffloadFeaturesTest, CoversWhatADeviceTakes) {
  const PacketOffload to_fill{.checksum = ChecksumState::to_fill};
  EXPECT_TRUE(OffloadFeatures::none().covers({}));
  EXPECT_FALSE(OffloadFeatures::none().covers(to_fill));
  EXPECT_TRUE((OffloadFeatures{.checksum = true}.covers(to_fill)));
  const PacketOffload tso4{.kind = SegmentKind::tcp4, .ecn = true, .segment_size = 100, .header_length = 40};
  EXPECT_TRUE(OffloadFeatures::all().covers(tso4));
  EXPECT_FALSE((OffloadFeatures{.checksum = true, .tso4 = true}.covers(tso4))) << "without ECN";
  EXPECT_FALSE((OffloadFeatures{.checksum = true, .tso6 = true, .ecn = true}.covers(tso4)));
}

TEST(OffloadTest, ASuperPacketIsSoManyDatagrams) {
  const PacketOffload uso{.kind = SegmentKind::udp, .segment_size = 100, .header_length = 28};
  EXPECT_EQ(datagrams_in(28 + 1, uso), 1U);
  EXPECT_EQ(datagrams_in(28 + 100, uso), 1U);
  EXPECT_EQ(datagrams_in(28 + 101, uso), 2U);
  EXPECT_EQ(datagrams_in(1500, {}), 1U);
}

}  // namespace
}  // namespace tunport
