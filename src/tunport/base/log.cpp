#include "tunport/base/log.hpp"

#include <cstdio>
#include <mutex>

namespace tunport {
namespace {

struct Sink {
  std::mutex mutex;
  LogSink take = [](LogLevel level, std::string_view who, std::string_view what) {
    if (level < LogLevel::warning) return;
    std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(who.size()), who.data(),
                 static_cast<int>(what.size()), what.data());
  };
};

Sink& sink() {
  static Sink instance;
  return instance;
}

}  // namespace

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "unknown";
}

void set_log_sink(LogSink take) {
  const std::lock_guard lock{sink().mutex};
  sink().take = std::move(take);
}

void log(LogLevel level, std::string_view who, std::string_view what) noexcept try {
  const std::lock_guard lock{sink().mutex};
  if (sink().take) sink().take(level, who, what);
} catch (...) {  // a sink that throws must not take the event loop with it
}

}  // namespace tunport
