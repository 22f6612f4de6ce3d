#pragma once
/// Comparison of two ways of doing the same thing, on a machine that is not quiet.
///
/// Theory. Absolute figures drift by 10 to 20 % within minutes, so only measurements side by side are
/// compared. A comparison is a number of pairs. A pair is a measurement of the value (ours) and a measurement
/// of the baseline, in alternating order, and gives a ratio, value / baseline. The report has the median of
/// the ratios, and an interval from their order: the true median lies between the k-th smallest and the k-th
/// largest with a probability of 1 - 2 P(B < k), with B binomial(n, 1/2), for every distribution. k is the
/// largest with at least 95 %. Fewer than six pairs do not reach 95 %, not even between the smallest and the
/// largest (five: 93.75 %). A first pair is measured and thrown away.

#include <functional>
#include <iosfwd>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace tunport::bench {

enum class Better { higher, lower };

/// A line of the table: a figure, and its goals: lower bounds if higher is better, else upper bounds.
struct Row {
  std::string name;
  std::string unit;
  Better better = Better::higher;
  std::optional<double> reach = std::nullopt;  ///< goal of the ratio
  std::optional<double> bound = std::nullopt;  ///< goal of the figure
};

struct Settings {
  int pairs = 6;
  double seconds = 1.0;  ///< length of a measurement, without warm-up
  std::string filter;    ///< a regular expression for the names of wanted rows
  std::string out;       ///< the JSON file; empty: no file
  bool smoke = false;    ///< every row runs, but the figures do not count
};

/// Measures once: a figure for each row, in order. Throws `NotHere`, `Unsteady`, or a further std::exception
/// for a failure: a figure is returned only if the work was really done.
using Measure = std::function<std::vector<double>(const Settings&)>;

/// Rows filled by the same measurement.
struct Comparison {
  std::vector<Row> rows;
  std::string baseline_name;
  Measure value;
  Measure baseline;
};

/// The kernel or the machine lacks a feature that a row needs: the row is left out.
class NotHere : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The work was done, but not under the conditions of a measurement.
class Unsteady : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Interval {
  double low = 0;
  double high = 0;
  double coverage = 0;  ///< the probability of the true median inside
};

struct Result {
  Row row;
  std::string baseline_name;
  double value = 0;     ///< median of ours
  double baseline = 0;  ///< median of the baseline
  double ratio = 0;     ///< median of the paired ratios
  Interval interval;    ///< interval of `ratio`
};

/// The median; the mean of the middle two for an even number of values. Precondition: not empty.
double median(std::vector<double> values);
/// The interval of the median, by the theory above. Precondition: not empty.
Interval median_interval(std::vector<double> values);

/// Measures the wanted rows of `comparison`, and measures nothing without a wanted row. Writes the figures of
/// each pair to `progress`.
std::vector<Result> compare(const Comparison& comparison, const Settings& settings, std::ostream& progress);

/// True if the row reaches its goals, or has no goal.
bool reached(const Result& result);

/// {"rows": [{"name", "unit", "value", "baseline", "baseline_name", "ratio", "low", "high", "better",
/// "reach", "bound"}]}. An absent goal ("reach", "bound") is null.
std::string to_json(const std::vector<Result>& results);
/// The results as a table.
std::string to_table(const std::vector<Result>& results);

}  // namespace tunport::bench
