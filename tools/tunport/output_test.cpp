#include "output.hpp"

#include <gtest/gtest.h>

#include "failure.hpp"

namespace tunport::tool {
namespace {

TEST(Output, AnErrorIsOneLineWhateverIsInIt) {
  testing::internal::CaptureStderr();
  print_error("port 'a\nb\x1b[2J': wrong");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "tunport: port 'a?b?[2J': wrong\n");
}

TEST(Output, ThatCannotBeWrittenIsAFailure) {
  std::FILE* const full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  EXPECT_THROW(print(full, "text"), Failure);
  std::fclose(full);
}

}  // namespace
}  // namespace tunport::tool
