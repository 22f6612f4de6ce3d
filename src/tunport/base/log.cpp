#include "tunport/base/log.hpp"

#include <cstdio>
#include <memory>
#include <mutex>
#include <utility>

namespace tunport {
namespace {

void to_standard_error(LogLevel level, std::string_view who, std::string_view what) {
  if (level < LogLevel::warning) return;
  std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(who.size()), who.data(),
               static_cast<int>(what.size()), what.data());
}

struct Sink {
  std::recursive_mutex mutex;  // the sink may log, or set another sink
  std::shared_ptr<const LogSink> take = std::make_shared<const LogSink>(to_standard_error);
  bool running = false;
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
  auto replaced = std::make_shared<const LogSink>(std::move(take));
  const std::lock_guard lock{sink().mutex};
  sink().take.swap(replaced);
}

void log(LogLevel level, std::string_view who, std::string_view what) noexcept try {
  const std::lock_guard lock{sink().mutex};
  if (sink().running) return to_standard_error(level, who, what);
  const auto take = sink().take;  // lives for the call, even if the sink sets another
  if (!*take) return;
  struct Running {
    Running() { sink().running = true; }
    ~Running() { sink().running = false; }
  };
  const Running running;
  (*take)(level, who, what);
} catch (...) {  // an exception of the sink must not end the event loop
}

}  // namespace tunport
