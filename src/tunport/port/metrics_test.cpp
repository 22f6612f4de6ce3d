#include "tunport/port/metrics.hpp"

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

namespace tunport {
namespace {

using testing::HasSubstr;

/// Reads the text format strictly: each metric is introduced once, samples follow, and none is there twice.
std::map<std::string, std::uint64_t> read(const std::string& text) {
  static const std::regex help{R"(# HELP ([a-z_]+_total) \S.*)"};
  static const std::regex type{R"(# TYPE ([a-z_]+_total) counter)"};
  static const std::regex sample{
      R"re(([a-z_]+_total)\{([a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*)\} ([0-9]+))re"};
  std::map<std::string, std::uint64_t> samples;
  std::set<std::string> introduced;
  std::string helped;
  std::string current;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (std::regex_match(line, found, help)) {
      helped = found[1];
      EXPECT_TRUE(introduced.insert(helped).second) << "twice: " << line;
    } else if (std::regex_match(line, found, type)) {
      current = found[1];
      EXPECT_EQ(current, helped);
    } else if (std::regex_match(line, found, sample)) {
      EXPECT_EQ(found[1], current) << "not in its group";
      EXPECT_TRUE(samples.emplace(found[1].str() + '{' + found[2].str() + '}', std::stoull(found[3])).second);
    } else {
      ADD_FAILURE() << "not of the format: " << line;
    }
  }
  EXPECT_EQ(text.back(), '\n');
  return samples;
}

TEST(Metrics, HasEveryCounterOfEachPort) {
  PortMetrics first{.port = "tap:tp0",
                    .statistics = {.packets_in = 1,
                                   .packets_out = 2,
                                   .bytes_in = 3,
                                   .bytes_out = 4,
                                   .super_packets_in = 5,
                                   .super_packets_out = 6,
                                   .super_packets_refused = 7,
                                   .bursts = 8,
                                   .exceptions = 9,
                                   .drops = {}},
                    .kernel_drops = 10};
  first.statistics.drops.add(DropReason::truncated, 11);
  first.statistics.drops.add(DropReason::queue_full, 12);
  const PortMetrics second{.port = "udp"};
  const auto samples = read(to_prometheus(std::vector{first, second}));
  EXPECT_EQ(samples.size(), 10U + 2U + 10U);
  const std::pair<const char*, std::uint64_t> expected[] = {{"received_packets", 1},
                                                            {"sent_packets", 2},
                                                            {"received_bytes", 3},
                                                            {"sent_bytes", 4},
                                                            {"received_super_packets", 5},
                                                            {"sent_super_packets", 6},
                                                            {"refused_super_packets", 7},
                                                            {"bursts", 8},
                                                            {"exceptions", 9},
                                                            {"kernel_dropped_packets", 10}};
  for (const auto& [name, value] : expected) {
    EXPECT_EQ(samples.at(std::string{"tunport_"} + name + "_total{port=\"tap:tp0\"}"), value) << name;
    EXPECT_EQ(samples.at(std::string{"tunport_"} + name + "_total{port=\"udp\"}"), 0U) << name;
  }
  EXPECT_EQ(samples.at(R"(tunport_dropped_packets_total{port="tap:tp0",reason="truncated"})"), 11U);
  EXPECT_EQ(samples.at(R"(tunport_dropped_packets_total{port="tap:tp0",reason="queue_full"})"), 12U);
}

TEST(Metrics, LabelsAreEscaped) {
  EXPECT_EQ(prometheus_label("a\"b\\c\nd"), R"(a\"b\\c\nd)");
  EXPECT_EQ(read(to_prometheus(std::vector{PortMetrics{.port = "\"\n\\"}})).size(), 10U);
}

TEST(Metrics, OfNoPortAreTheNamesAlone) { EXPECT_TRUE(read(to_prometheus({})).empty()); }

}  // namespace
}  // namespace tunport
