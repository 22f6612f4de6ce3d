#pragma once
/// spdlog: the library's log lines in a logger of the program. Opt-in: needs libspdlog, unlike the rest of
/// tunport.
///
///     tunport::set_log_sink(tunport::make_spdlog_sink(spdlog::default_logger()));

#include <memory>
#include <utility>

#include <spdlog/logger.h>

#include "tunport/base/log.hpp"

namespace tunport {

/// The level of spdlog for a level of tunport.
inline spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      break;
  }
  return spdlog::level::err;
}

/// A sink that logs "who: what" to `logger`, at the level of the line. The sink keeps the logger.
/// Precondition: `logger` is not null.
inline LogSink make_spdlog_sink(std::shared_ptr<spdlog::logger> logger) {
  return [logger = std::move(logger)](LogLevel level, std::string_view who, std::string_view what) {
    logger->log(to_spdlog(level), "{}: {}", who, what);
  };
}

}  // namespace tunport
