#pragma once
/// The counters of ports for Prometheus.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tunport/port/statistics.hpp"

namespace tunport {

/// The counters of a port, and the port's name.
struct PortMetrics {
  std::string port;  ///< the value of the label `port`: "tap:tp0"
  Statistics statistics = {};
  std::uint64_t kernel_drops = 0;  ///< `TuntapPort::kernel_drops`
};

/// All counters of the ports in Prometheus' text format (text/plain; version=0.0.4), each metric with its
/// help and type once. Names begin with "tunport_", and end with "_total". A text for a file that
/// node_exporter's textfile collector reads, or for the answer to a scrape.
std::string to_prometheus(std::span<const PortMetrics> ports);

/// `value` for use between the quotes of a label: backslash, quote and line feed are escaped.
std::string prometheus_label(std::string_view value);

}  // namespace tunport
