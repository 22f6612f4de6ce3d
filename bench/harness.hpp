#pragma once
/// How two ways of doing the same thing are compared on a machine that is not quiet.
///
/// Theory. Absolute figures drift by 10 to 20 % within minutes, so only what was measured side by side is
/// compared. A comparison is a number of pairs; in each, one measurement of the value (ours) and one of the
/// baseline follow each other, and who comes first alternates. Each pair gives one ratio, value / baseline.
/// Reported are the median of these ratios and an interval for it from their order: between the k-th smallest
/// and the k-th largest lies the true median with a probability that needs no assumption on the distribution
/// (1 - 2 P(B < k) with B binomial(n, 1/2)). k is the largest with which that is at least 95 %; with fewer
/// than six pairs not even smallest and largest reach it (five: 93.75 %). A first pair is measured and
/// thrown away.

#include <functional>
#include <iosfwd>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace tunport::bench {

enum class Better { higher, lower };

/// One line of the table: a figure, and what it should reach (at least if higher is better, else at most): as
/// its ratio, and as the figure that it is.
struct Row {
  std::string name;
  std::string unit;
  Better better = Better::higher;
  std::optional<double> reach = std::nullopt;
  std::optional<double> bound = std::nullopt;
};

struct Settings {
  int pairs = 6;
  double seconds = 1.0;  ///< of one measurement, its warm-up aside
  std::string filter;    ///< a regular expression that is found in the names of the rows wanted
  std::string out;       ///< the JSON file; empty: none
  bool smoke = false;    ///< only whether every row runs is of interest, not what it measures
};

/// Measures once: one figure for each row, in order. Throws `NotHere`, `Unsteady`, or what else
/// std::exception there is when it went wrong: a figure is returned only if the work was really done.
using Measure = std::function<std::vector<double>(const Settings&)>;

/// Rows that one measurement fills together.
struct Comparison {
  std::vector<Row> rows;
  std::string baseline_name;
  Measure value;
  Measure baseline;
};

/// This kernel, or machine, cannot do what a row needs: the row is left out.
class NotHere : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The work was done, but not under the conditions that make it a measurement.
class Unsteady : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Interval {
  double low = 0;
  double high = 0;
  double coverage = 0;  ///< the probability that the true median is inside
};

struct Result {
  Row row;
  std::string baseline_name;
  double value = 0;     ///< median of ours
  double baseline = 0;  ///< median of the baseline's
  double ratio = 0;     ///< median of the paired ratios
  Interval interval;    ///< of `ratio`
};

/// The median; of an even number, the mean of the middle two. Precondition: not empty.
double median(std::vector<double> values);
/// See the theory above. Precondition: not empty.
Interval median_interval(std::vector<double> values);

/// Measures the rows of `comparison` that the filter wants; nothing, if it wants none. Says on `progress`
/// what each pair gave.
std::vector<Result> compare(const Comparison& comparison, const Settings& settings, std::ostream& progress);

/// True if the row is where it should be, or need not be anywhere.
bool reached(const Result& result);

/// {"rows":[{"name","unit","value","baseline","baseline_name","ratio","low","high","better","reach","bound"}]},
/// the last two null where there is none.
std::string to_json(const std::vector<Result>& results);
/// The same for people.
std::string to_table(const std::vector<Result>& results);

}  // namespace tunport::bench
