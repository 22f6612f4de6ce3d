#include "tunport/base/device_kind.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(DeviceKind, ToString) {
  EXPECT_EQ(to_string(DeviceKind::tun), "tun");
  EXPECT_EQ(to_string(DeviceKind::tap), "tap");
}

}  // namespace
}  // namespace tunport
