#pragma once
/// `--metrics FILE`: the counters for node_exporter's textfile collector.

#include <string>

#include "summary.hpp"

namespace tunport::tool {

/// The counters of port and host in Prometheus' text format.
std::string to_prometheus(const HostSummary& summary);

/// Replaces `file` by a file with `text`, in one step: a reader finds the old text or the new. Throws
/// `Failure`; nothing is left behind then.
void replace_file(const std::string& file, const std::string& text);

}  // namespace tunport::tool
