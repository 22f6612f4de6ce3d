#include "tunport/offload/fmt.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(OffloadFmt, FormatsSets) {
  EXPECT_EQ(fmt::format("{}", OffloadFeatures::none()), to_string(OffloadFeatures::none()));
}

}  // namespace
}  // namespace tunport
