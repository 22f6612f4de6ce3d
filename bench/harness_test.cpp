#include "harness.hpp"

#include <sstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace tunport::bench {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Median, of_odd_and_even_numbers) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({7}), 7);
}

TEST(MedianInterval, takes_as_many_from_each_end_as_95_percent_allow) {
  const Interval nine = median_interval({9, 8, 7, 6, 5, 4, 3, 2, 1});
  EXPECT_EQ(nine.low, 2);
  EXPECT_EQ(nine.high, 8);
  EXPECT_THAT(nine.coverage, DoubleNear(1 - 2 * 10.0 / 512, 1e-12));
  std::vector<double> many;
  for (int i = 1; i <= 20; ++i) many.push_back(i);
  EXPECT_EQ(median_interval(many).low, 6);  // tables of the sign test for 20: ranks 6 and 15, 95.9 %
  EXPECT_EQ(median_interval(many).high, 15);
}

TEST(MedianInterval, of_few_is_all_there_is_and_says_how_little_that_is) {
  const Interval five = median_interval({5, 4, 3, 2, 1});
  EXPECT_EQ(five.low, 1);
  EXPECT_EQ(five.high, 5);
  EXPECT_THAT(five.coverage, DoubleNear(0.9375, 1e-12));
  EXPECT_EQ(median_interval({2}).coverage, 0);
}

/// Two fake measurements that record their order.
struct Fakes {
  std::string order;
  double value = 0;
  Comparison comparison{.rows = {{"fast", "pps", Better::higher, 0.95}, {"slow", "us", Better::lower, 1.05}},
                        .baseline_name = "fake",
                        .value =
                            [this](const Settings&) {
                              order += 'v';
                              value += 1;
                              return std::vector{value, 3.0};
                            },
                        .baseline =
                            [this](const Settings&) {
                              order += 'b';
                              return std::vector{2.0, 2.0};
                            }};
};

TEST(Compare, alternates_and_throws_the_first_pair_away) {
  Fakes fakes;
  std::ostringstream progress;
  const auto results =
      compare(fakes.comparison, {.pairs = 3, .seconds = 1, .filter = "", .out = ""}, progress);
  EXPECT_EQ(fakes.order, "bvvbbvvb");
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].value, 3);  // the median of 2, 3, 4: 1 was the warm-up
  EXPECT_EQ(results[0].ratio, 1.5);
  EXPECT_EQ(results[0].interval.low, 1);
  EXPECT_EQ(results[0].interval.high, 2);
  EXPECT_THAT(progress.str(), HasSubstr("fast 2/3: 3 to 2 pps, ratio 1.500\n"));
}

TEST(Compare, measures_only_what_the_filter_wants) {
  Fakes fakes;
  std::ostringstream progress;
  EXPECT_TRUE(
      compare(fakes.comparison, {.pairs = 3, .seconds = 1, .filter = "other", .out = ""}, progress).empty());
  EXPECT_EQ(fakes.order, "");
  const auto results =
      compare(fakes.comparison, {.pairs = 1, .seconds = 1, .filter = "^slow$", .out = ""}, progress);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].row.name, "slow");
}

TEST(Compare, does_not_take_a_figure_that_is_none) {
  Fakes fakes;
  std::ostringstream progress;
  fakes.comparison.value = [](const Settings&) { return std::vector{0.0, 1.0}; };
  EXPECT_THROW(compare(fakes.comparison, {}, progress), std::runtime_error);
  fakes.comparison.value = [](const Settings&) { return std::vector{1.0}; };
  EXPECT_THROW(compare(fakes.comparison, {}, progress), std::logic_error);
}

TEST(Report, json_has_one_object_per_row) {
  Fakes fakes;
  std::ostringstream progress;
  const auto results =
      compare(fakes.comparison, {.pairs = 3, .seconds = 1, .filter = "", .out = ""}, progress);
  const auto json = nlohmann::json::parse(to_json(results));
  EXPECT_EQ(json.at("rows").at(0), (nlohmann::json{{"name", "fast"},
                                                   {"unit", "pps"},
                                                   {"value", 3.0},
                                                   {"baseline", 2.0},
                                                   {"baseline_name", "fake"},
                                                   {"ratio", 1.5},
                                                   {"low", 1.0},
                                                   {"high", 2.0},
                                                   {"better", "higher"},
                                                   {"reach", 0.95},
                                                   {"bound", nullptr}}));
  std::vector<std::string> names;
  for (const auto& row : json.at("rows")) names.push_back(row.at("name"));
  EXPECT_THAT(names, ElementsAre("fast", "slow"));
}

TEST(Report, table_says_whether_a_row_reached_what_it_should) {
  Fakes fakes;
  std::ostringstream progress;
  const auto results =
      compare(fakes.comparison, {.pairs = 3, .seconds = 1, .filter = "", .out = ""}, progress);
  EXPECT_THAT(to_table(results), HasSubstr(">= 0.95: reached"));
  EXPECT_THAT(to_table(results), HasSubstr("<= 1.05: MISSED"));
}

TEST(Report, a_bound_is_for_the_figure_and_not_for_its_ratio) {
  Result result;
  result.row = {"cpu", "ns", Better::lower, std::nullopt, 50.0};
  result.value = 50;
  result.ratio = 1000;
  EXPECT_TRUE(reached(result));
  EXPECT_THAT(to_table({result}), HasSubstr("<= 50 ns: reached"));
  result.value = 50.1;
  EXPECT_FALSE(reached(result));
  EXPECT_THAT(to_table({result}), HasSubstr("<= 50 ns: MISSED"));
  EXPECT_THAT(to_json({result}), HasSubstr("\"bound\": 50.0"));
  result.row.reach = 1100;
  EXPECT_THAT(to_table({result}), HasSubstr("<= 1100.00, <= 50 ns: MISSED"));
}

}  // namespace
}  // namespace tunport::bench
