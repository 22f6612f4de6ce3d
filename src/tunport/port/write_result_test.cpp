#include "tunport/port/write_result.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(WriteResult, IsTrueUnlessRefused) {
  EXPECT_TRUE(WriteResult::make_sent());
  EXPECT_TRUE(WriteResult::make_queued());
  const auto refused = WriteResult::make_refused(DropReason::too_long);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.reason(), DropReason::too_long);
}

}  // namespace
}  // namespace tunport
