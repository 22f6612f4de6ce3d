#include "tunport/port/write_result.hpp"

#include <cerrno>
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

TEST(WriteResult, TellsTheErrnoOfTheKernel) {
  const auto refused = WriteResult::make_refused(DropReason::kernel_refused, EACCES);
  EXPECT_EQ(refused.error(), EACCES);
  EXPECT_EQ(to_string(refused), "refused: kernel_refused (Permission denied)");
  EXPECT_EQ(refused, WriteResult::make_refused(DropReason::kernel_refused));
  EXPECT_EQ(WriteResult::make_refused(DropReason::empty).error(), 0);
}

}  // namespace
}  // namespace tunport
