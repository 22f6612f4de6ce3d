#include "tunport/port/statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Statistics, PrintInOneLine) {
  Statistics statistics;
  statistics.packets_in = 3;
  statistics.packets_out = 2;
  statistics.bytes_in = 252;
  statistics.bytes_out = 168;
  statistics.super_packets_out = 1;
  statistics.bursts = 1;
  EXPECT_EQ(to_string(statistics),
            "in 3 packets, 252 bytes, 0 super-packets; out 2 packets, 168 bytes, 1 super-packets, 0 refused; "
            "1 bursts; "
            "0 exceptions; dropped 0");
  statistics.drops.add(DropReason::unknown_udp_port, 2);
  statistics.drops.add(DropReason::no_route);
  EXPECT_THAT(to_string(statistics), testing::EndsWith("dropped 3: unknown_udp_port 2, no_route 1"));
}

}  // namespace
}  // namespace tunport
