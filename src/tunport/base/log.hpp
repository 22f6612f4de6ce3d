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

/// Sets where lines go, for the whole process; an empty sink is silence. Before the first call warnings and
/// errors go to standard error, a line each. Safe from any thread: one thread at a time runs the sink, and a
/// sink that was replaced is not running any more when this returns. The sink may call this: the new sink
/// takes the next line.
void set_log_sink(LogSink sink);

/// Says a line. Exceptions of the sink are swallowed. A line that the sink itself logs goes to standard
/// error.
void log(LogLevel level, std::string_view who, std::string_view what) noexcept;

}  // namespace tunport
