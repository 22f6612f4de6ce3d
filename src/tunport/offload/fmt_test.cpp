#include "tunport/offload/fmt.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(OffloadFmt, FormatsSets) {
  EXPECT_EQ(fmt::format("{}", OffloadSet::none()), to_string(OffloadSet::none()));
}

}  // namespace
}  // namespace tunport
