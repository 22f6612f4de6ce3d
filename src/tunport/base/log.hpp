#pragma once
/// The log sink: where the library's few lines go. Nothing is logged per packet.

#include <cstdint>
#include <functional>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

enum class LogLevel : std::uint8_t { debug, info, warning, error };
std::string_view to_string(LogLevel level);

/// Takes a line: its level, who says it (a log prefix such as "Answer (TAP)"), and what.
using LogSink = std::function<void(LogLevel level, std::string_view who, std::string_view what)>;

/// Sets where lines go, for the whole process; an empty sink is silence. Until it is set, warnings and errors
/// go to standard error, a line each. Safe from any thread; the sink is called by one thread at a time.
void set_log_sink(LogSink sink);

/// Says a line. Exceptions of the sink are swallowed.
void log(LogLevel level, std::string_view who, std::string_view what) noexcept;

}  // namespace tunport
