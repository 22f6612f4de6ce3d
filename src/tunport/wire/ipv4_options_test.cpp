#include <array>

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/ipv4_options_internal.hpp"

namespace tunport {
namespace {

using namespace packets;
using ipv4_options::has_unspent_source_route;

/// The answer's options to these, recorded by 10.0.0.2, in hex.
std::string recorded(std::string_view options) {
  std::array<std::byte, ipv4_options::max_size> out;
  out.fill(std::byte{0xee});
  return to_hex(Bytes{out}.first(ipv4_options::record_route(hex(options), host_ip, out)));
}

TEST(RecordRoute, TheStationStandsInTheNextPlace) {
  EXPECT_EQ(recorded("070b04 00000000 00000000 00"), "070b080a0000020000000000");
  EXPECT_EQ(recorded("070b08 0a000001 00000000 00"), "070b0c0a0000010a00000200");
  EXPECT_EQ(recorded("070704 00000000"), "0707080a00000200") << "padded to words";
  EXPECT_EQ(recorded("01 070704 00000000"), "0707080a00000200") << "behind a no-operation";
  EXPECT_EQ(recorded("4408050000000000 070704 00000000 00"), "0707080a00000200") << "behind a time stamp";
  EXPECT_EQ(recorded("072704 000000000000000000000000000000000000000000000000000000000000000000000000 00"),
            "0727080a000002" + std::string(64, '0') + "00")
      << "nine places: the most";
}

TEST(RecordRoute, AFullOptionStaysAsItIs) {
  EXPECT_EQ(recorded("07070c 0a000001"), "07070c0a00000100");
  EXPECT_EQ(recorded("070708 0a000001"), "0707080a00000100");
  EXPECT_EQ(recorded("070304 00"), "07030400") << "no place at all";
}

TEST(RecordRoute, NothingWithoutAWellFormedOption) {
  for (const char* options :
       {"", "00000000", "01010101", "4408050000000000", "00 070704 00000000", "07", "0701", "0702",
        "070300 00", "070703 00000000 00", "070705 00000000 00", "070604 000000 0000", "070b04 00000000",
        "0700 0000", "07ff04 00000000 00", "0200 070704 00000000", "83070400000000 00"})
    EXPECT_EQ(recorded(options), "") << options;
}

TEST(SourceRoute, IsUnspentWhileStationsAreLeft) {
  for (const char* type : {"83", "89"}) {
    const auto unspent = [&](const std::string& rest) { return has_unspent_source_route(hex(type + rest)); };
    EXPECT_TRUE(unspent("0704 0a000003 00"));
    EXPECT_TRUE(unspent("0b08 0a000003 0a000004 00")) << "the second of two";
    EXPECT_FALSE(unspent("0b0c 0a000003 0a000004 00"));
    EXPECT_FALSE(unspent("0708 0a000003 00"));
    EXPECT_FALSE(unspent("0304 00")) << "a route of no stations";
    EXPECT_TRUE(
        has_unspent_source_route(hex("01 070704 00000000 01" + (type + std::string{"07040a000003"}))));
    EXPECT_FALSE(has_unspent_source_route(hex("00" + (type + std::string{"07040a000003"}))))
        << "behind the end";
  }
  EXPECT_FALSE(has_unspent_source_route({}));
  EXPECT_FALSE(has_unspent_source_route(hex("070704 00000000 00"))) << "a record of the route";
  EXPECT_TRUE(has_unspent_source_route(hex("83080400 00000000 8907040a000003 00"))) << "the second";
}

TEST(SourceRoute, IsUnspentWhereNobodyCanTell) {
  for (const char* options : {"83", "8300", "8301", "8302", "830300", "83070300000000", "83070500000000",
                              "83060400", "83060400 0000", "83ff0400000000", "01010183"})
    EXPECT_TRUE(has_unspent_source_route(hex(options))) << options;
}

}  // namespace
}  // namespace tunport
