#include "tunport/base/log.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
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

TEST(Log, ALineFromInsideTheSinkGoesToStandardError) {
  int lines = 0;
  set_log_sink([&](LogLevel, std::string_view, std::string_view) {
    ++lines;
    log(LogLevel::warning, "sink", "I log");
    log(LogLevel::info, "sink", "as little as the default does");
  });
  testing::internal::CaptureStderr();
  log(LogLevel::error, "who", "what");
  log(LogLevel::error, "who", "what");
  set_log_sink({});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "sink: I log\nsink: I log\n");
  EXPECT_EQ(lines, 2);
}

TEST(Log, ASinkMaySetAnother) {
  std::vector<std::string> lines;
  // If nothing kept the sink, it would be destroyed while it runs: a sanitizer would see its string.
  set_log_sink([&lines, name = std::string(100, 'x')](LogLevel, std::string_view, std::string_view) {
    set_log_sink([&lines](LogLevel, std::string_view, std::string_view what) {
      lines.push_back("second: " + std::string{what});
    });
    lines.push_back("first: " + name);
  });
  log(LogLevel::error, "who", "one");
  log(LogLevel::error, "who", "two");
  set_log_sink({});
  EXPECT_EQ(lines, (std::vector<std::string>{"first: " + std::string(100, 'x'), "second: two"}));
}

TEST(Log, ASinkThatWasReplacedIsNotRunning) {
  std::atomic<bool> began = false;
  std::atomic<bool> ended = false;
  set_log_sink([&](LogLevel, std::string_view, std::string_view) {
    began = true;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    ended = true;
  });
  std::thread other{[] { log(LogLevel::error, "who", "what"); }};
  while (!began) std::this_thread::yield();
  set_log_sink({});
  EXPECT_TRUE(ended);
  other.join();
}

}  // namespace
}  // namespace tunport
