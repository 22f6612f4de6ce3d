#include "tunport/spdlog.hpp"

#include <sstream>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

namespace tunport {
namespace {

TEST(SpdlogSink, HasTheLinesWithTheirLevels) {
  std::ostringstream out;
  auto logger =
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_st>(out));
  logger->set_level(spdlog::level::debug);
  logger->set_pattern("%l %v");
  set_log_sink(make_spdlog_sink(std::move(logger)));
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error})
    log(level, "Answer (TAP)", "100 {} %v");
  set_log_sink({});
  EXPECT_EQ(out.str(),
            "debug Answer (TAP): 100 {} %v\n"
            "info Answer (TAP): 100 {} %v\n"
            "warning Answer (TAP): 100 {} %v\n"
            "error Answer (TAP): 100 {} %v\n");
}

}  // namespace
}  // namespace tunport
