#include "tunport/base/bytes.hpp"

#include <array>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Bytes, StoresAndLoadsBigEndian) {
  std::array<std::byte, 8> buffer{};
  store_u8(buffer, 0, 0xfe);
  store_be16(buffer, 1, 0x1234);
  store_be32(buffer, 3, 0xdeadbeef);
  EXPECT_EQ(load_u8(buffer, 0), 0xfe);
  EXPECT_EQ(load_be16(buffer, 1), 0x1234);
  EXPECT_EQ(load_u8(buffer, 1), 0x12);
  EXPECT_EQ(load_be32(buffer, 3), 0xdeadbeef);
  EXPECT_EQ(load_u8(buffer, 6), 0xef);
}

TEST(Bytes, TextAndBack) { EXPECT_EQ(as_text(as_bytes("tunport")), "tunport"); }

}  // namespace
}  // namespace tunport
