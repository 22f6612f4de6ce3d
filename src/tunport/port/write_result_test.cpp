#include "tunport/port/write_result.hpp"

#include <sstream>

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

TEST(WriteResult, PrintsItsReason) {
  EXPECT_EQ(to_string(WriteResult::make_sent()), "sent");
  EXPECT_EQ(to_string(WriteResult::make_queued()), "queued");
  std::ostringstream out;
  out << WriteResult::make_refused(DropReason::too_long);
  EXPECT_EQ(out.str(), "refused: too_long");
}

}  // namespace
}  // namespace tunport
