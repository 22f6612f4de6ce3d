#include "tunport/base/log.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Log, GoesToTheSinkThatWasSet) {
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel level, std::string_view who, std::string_view what) {
    lines.push_back(std::string{to_string(level)} + '|' + std::string{who} + '|' + std::string{what});
  });
  log(LogLevel::warning, "Answer (TAP)", "hello");
  set_log_sink({});
  log(LogLevel::error, "Answer (TAP)", "nobody hears this");
  EXPECT_EQ(lines, std::vector<std::string>{"warning|Answer (TAP)|hello"});
}

TEST(Log, AThrowingSinkDoesNoHarm) {
  set_log_sink([](LogLevel, std::string_view, std::string_view) { throw std::runtime_error("sink"); });
  log(LogLevel::error, "who", "what");
  set_log_sink({});
}

}  // namespace
}  // namespace tunport
