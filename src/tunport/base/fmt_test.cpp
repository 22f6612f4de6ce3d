#include "tunport/base/fmt.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Fmt, FormatsNamesAsStrings) {
  EXPECT_EQ(
      fmt::format("{}|{:>10}|{:.3}", DropReason::link_down, DropReason::link_down, DropReason::link_down),
      "link_down| link_down|lin");
  EXPECT_EQ(fmt::format("{} {}", DeviceKind::tap, LogLevel::warning), "tap warning");
}

}  // namespace
}  // namespace tunport
