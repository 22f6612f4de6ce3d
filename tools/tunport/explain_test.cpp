#include "explain.hpp"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/base/drop_reason.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

using testing::HasSubstr;

TEST(Explain, TheReasonInWords) {
  EXPECT_EQ(explain("link_down"), "link_down             the interface was down ('ip link set NAME up')\n");
}

TEST(Explain, AllOfThem) {
  const std::string all = explain("all");
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(all, '\n')), drop_reason_count);
  for (std::size_t i = 0; i < drop_reason_count; ++i)
    EXPECT_THAT(all, HasSubstr(explain(std::string{to_string(static_cast<DropReason>(i))})));
}

TEST(Explain, AnUnknownOneIsWrongUsage) {
  for (const char* reason : {"", "link", "LINK_DOWN"}) {
    try {
      explain(reason);
      ADD_FAILURE() << reason;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status(), status::usage);
      EXPECT_THAT(failure.what(), HasSubstr("'tunport host --explain all' lists"));
    }
  }
}

}  // namespace
}  // namespace tunport::tool
