#include "harness.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <regex>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tunport::bench {
namespace {

constexpr double wanted_coverage = 0.95;

std::vector<double> measured(const Measure& measure, const Settings& settings, std::size_t rows) {
  std::vector<double> figures = measure(settings);
  if (figures.size() != rows)
    throw std::logic_error("a measurement gave another number of figures than rows");
  for (const double figure : figures)
    if (!std::isfinite(figure) || figure <= 0)
      throw std::runtime_error("a measurement gave no positive figure");
  return figures;
}

/// A figure with at least four significant digits.
std::string figure(double value) {
  return value >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
}

}  // namespace

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Interval median_interval(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  double outcomes = std::pow(0.5, static_cast<double>(n));  // P(B = 0)
  double below = outcomes;                                  // P(B < k), k = 1
  std::size_t k = 1;
  for (; 2 * (k + 1) <= n; ++k) {
    outcomes *= static_cast<double>(n - k + 1) / static_cast<double>(k);
    if (1 - 2 * (below + outcomes) < wanted_coverage) break;
    below += outcomes;
  }
  return {values[k - 1], values[n - k], std::max(0.0, 1 - 2 * below)};
}

std::vector<Result> compare(const Comparison& comparison, const Settings& settings, std::ostream& progress) {
  const std::regex wanted{settings.filter};
  const auto is_wanted = [&](const Row& row) { return std::regex_search(row.name, wanted); };
  const std::size_t rows = comparison.rows.size();
  if (std::ranges::none_of(comparison.rows, is_wanted)) return {};

  std::vector<std::vector<double>> values(rows);
  std::vector<std::vector<double>> baselines(rows);
  std::vector<std::vector<double>> ratios(rows);
  for (int pair = 0; pair <= settings.pairs; ++pair) {
    std::vector<double> value;
    std::vector<double> baseline;
    if (pair % 2 == 0) baseline = measured(comparison.baseline, settings, rows);
    value = measured(comparison.value, settings, rows);
    if (pair % 2 != 0) baseline = measured(comparison.baseline, settings, rows);
    if (pair == 0) continue;  // the warm-up
    for (std::size_t i = 0; i < rows; ++i) {
      values[i].push_back(value[i]);
      baselines[i].push_back(baseline[i]);
      ratios[i].push_back(value[i] / baseline[i]);
      if (!is_wanted(comparison.rows[i])) continue;
      progress << fmt::format("{} {}/{}: {} to {} {}, ratio {:.3f}\n", comparison.rows[i].name, pair,
                              settings.pairs, figure(value[i]), figure(baseline[i]), comparison.rows[i].unit,
                              ratios[i].back())
               << std::flush;
    }
  }

  std::vector<Result> results;
  for (std::size_t i = 0; i < rows; ++i)
    if (is_wanted(comparison.rows[i]))
      results.push_back({comparison.rows[i], comparison.baseline_name, median(values[i]),
                         median(baselines[i]), median(ratios[i]), median_interval(ratios[i])});
  return results;
}

bool reached(const Result& result) {
  const auto is_there = [&](double figure, std::optional<double> wanted) {
    if (!wanted) return true;
    return result.row.better == Better::higher ? figure >= *wanted : figure <= *wanted;
  };
  return is_there(result.ratio, result.row.reach) && is_there(result.value, result.row.bound);
}

std::string to_json(const std::vector<Result>& results) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const auto or_null = [](std::optional<double> wanted) {
    return wanted ? nlohmann::ordered_json(*wanted) : nlohmann::ordered_json(nullptr);
  };
  for (const Result& result : results)
    rows.push_back({{"name", result.row.name},
                    {"unit", result.row.unit},
                    {"value", result.value},
                    {"baseline", result.baseline},
                    {"baseline_name", result.baseline_name},
                    {"ratio", result.ratio},
                    {"low", result.interval.low},
                    {"high", result.interval.high},
                    {"better", result.row.better == Better::higher ? "higher" : "lower"},
                    {"reach", or_null(result.row.reach)},
                    {"bound", or_null(result.row.bound)}});
  return nlohmann::ordered_json{{"rows", rows}}.dump(2) + '\n';
}

std::string to_table(const std::vector<Result>& results) {
  std::string text = fmt::format("{:24} {:>9} {:>9}  {:25} {:6} {:>6}  {:16} {}\n", "row", "tunport",
                                 "baseline", "(which)", "unit", "ratio", "interval", "reach");
  double coverage = 1;
  for (const Result& result : results) {
    const auto& [row, name, value, baseline, ratio, interval] = result;
    const char* const sign = row.better == Better::higher ? ">=" : "<=";
    std::string reach;
    if (row.reach) reach = fmt::format("{} {:.2f}", sign, *row.reach);
    if (row.bound)
      reach += fmt::format("{}{} {} {}", row.reach ? ", " : "", sign, figure(*row.bound), row.unit);
    if (reach.empty())
      reach = row.better == Better::higher ? "higher is better" : "lower is better";
    else
      reach += reached(result) ? ": reached" : ": MISSED";
    text +=
        fmt::format("{:24} {:>9} {:>9}  {:25} {:6} {:6.3f}  [{:6.3f}, {:6.3f}] {}\n", row.name, figure(value),
                    figure(baseline), name, row.unit, ratio, interval.low, interval.high, reach);
    coverage = std::min(coverage, interval.coverage);
  }
  text +=
      fmt::format("ratio = tunport / baseline, the median over pairs; interval: of that median, {:.1f} %\n",
                  100 * coverage);
  return text;
}

}  // namespace tunport::bench
