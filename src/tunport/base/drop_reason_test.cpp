#include "tunport/base/drop_reason.hpp"

#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(DropReason, EveryReasonHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < drop_reason_count; ++i) {
    const auto name = to_string(static_cast<DropReason>(i));
    EXPECT_NE(name, "unknown") << i;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(DropReason, EveryReasonHasAnExplanationOfItsOwn) {
  std::set<std::string_view> explanations;
  for (std::size_t i = 0; i < drop_reason_count; ++i) {
    const auto text = explanation_of(static_cast<DropReason>(i));
    EXPECT_NE(text, "unknown") << i;
    EXPECT_LE(text.size(), 62U) << text;
    EXPECT_TRUE(explanations.insert(text).second) << text;
  }
}

TEST(DropCounts, CountsByReasonAndVisitsWhatOccurred) {
  DropCounts counts;
  counts.add(DropReason::link_down, 2);
  counts.add(DropReason::empty);
  EXPECT_EQ(counts[DropReason::link_down], 2U);
  EXPECT_EQ(counts[DropReason::aborted], 0U);
  EXPECT_EQ(counts.total(), 3U);
  std::vector<std::pair<DropReason, std::uint64_t>> seen;
  counts.for_each([&](DropReason reason, std::uint64_t count) { seen.emplace_back(reason, count); });
  EXPECT_EQ(seen, (decltype(seen){{DropReason::empty, 1}, {DropReason::link_down, 2}}));
}

TEST(DropReason, AProgramAddsItsOwn) {
  const DropReason stale = register_drop_reason("test_stale", "older than the last");
  EXPECT_EQ(to_string(stale), "test_stale");
  EXPECT_EQ(explanation_of(stale), "older than the last");
  EXPECT_EQ(register_drop_reason("test_stale", "again"), stale);
  EXPECT_NE(register_drop_reason("test_other", "another"), stale);
  DropCounts counts;
  counts.add(stale, 3);
  counts.add(DropReason::aborted);
  EXPECT_EQ(to_string(counts), "aborted 1, test_stale 3");
  for (const char* name : {"", "Stale", "a b", "link_down"})
    EXPECT_THROW(register_drop_reason(name, ""), std::invalid_argument) << name;
  const auto fill = [] {
    for (std::size_t i = 0; i <= max_own_drop_reasons; ++i)
      register_drop_reason("test_" + std::to_string(i), "one of many");
  };
  EXPECT_THROW(fill(), std::length_error);
  EXPECT_EQ(to_string(static_cast<DropReason>(255)), "unknown");
}

TEST(DropCounts, PrintWhatOccurredInTheOrderOfTheList) {
  DropCounts counts;
  EXPECT_EQ(to_string(counts), "none");
  counts.add(DropReason::link_down, 2);
  EXPECT_EQ(to_string(counts), "link_down 2");
  counts.add(DropReason::empty);
  std::ostringstream out;
  out << counts;
  EXPECT_EQ(out.str(), "empty 1, link_down 2");
}

}  // namespace
}  // namespace tunport
