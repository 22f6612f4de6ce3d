#pragma once
/// The log sink: the destination of the library's few lines. Nothing is logged per packet.

#include <cstdint>
#include <functional>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// The level of a line, from the least to the most serious.
enum class LogLevel : std::uint8_t { debug, info, warning, error };
/// The name of the level: "warning".
std::string_view to_string(LogLevel level);

/// Takes a line: the level, the speaker (a log prefix such as "Answer (TAP)"), and the text.
using LogSink = std::function<void(LogLevel level, std::string_view who, std::string_view what)>;

/// Sets the sink of the whole process; an empty sink drops all lines. Before the first call warnings and
/// errors go to standard error. Safe from every thread: one thread at a time runs the sink, and after the
/// return a replaced sink is not running any more. A sink may set another sink, for the next line.
void set_log_sink(LogSink sink);

/// Logs a line. Exceptions of the sink are swallowed. A warning or an error logged by the sink itself goes to
/// standard error; lesser lines of the sink are dropped.
void log(LogLevel level, std::string_view who, std::string_view what) noexcept;

}  // namespace tunport
