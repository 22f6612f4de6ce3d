#include "tunport/port/metrics.hpp"

#include <array>

namespace tunport {
namespace {

struct Metric {
  std::string_view name;
  std::string_view help;
  std::uint64_t (*value)(const PortMetrics& port);
};
constexpr std::array metrics{
    Metric{"received_packets", "Packets read; a super-packet counts as its datagrams.",
           [](const PortMetrics& port) { return port.statistics.packets_in; }},
    Metric{"received_bytes", "Bytes of the packets read.",
           [](const PortMetrics& port) { return port.statistics.bytes_in; }},
    Metric{"received_super_packets", "Super-packets read.",
           [](const PortMetrics& port) { return port.statistics.super_packets_in; }},
    Metric{"sent_packets", "Packets taken by the kernel; a super-packet counts as its datagrams.",
           [](const PortMetrics& port) { return port.statistics.packets_out; }},
    Metric{"sent_bytes", "Bytes of the packets taken by the kernel.",
           [](const PortMetrics& port) { return port.statistics.bytes_out; }},
    Metric{"sent_super_packets", "Super-packets taken by the kernel.",
           [](const PortMetrics& port) { return port.statistics.super_packets_out; }},
    Metric{"refused_super_packets", "Super-packets refused by the kernel and sent as their datagrams.",
           [](const PortMetrics& port) { return port.statistics.super_packets_refused; }},
    Metric{"bursts", "Bursts that read a packet.",
           [](const PortMetrics& port) { return port.statistics.bursts; }},
    Metric{"exceptions", "Exceptions from protocols, caught by the port.",
           [](const PortMetrics& port) { return port.statistics.exceptions; }},
    Metric{"kernel_dropped_packets", "Packets dropped by the kernel because nobody read in time.",
           [](const PortMetrics& port) { return port.kernel_drops; }}};

void begin(std::string& text, std::string_view name, std::string_view help) {
  text.append("# HELP tunport_").append(name).append("_total ").append(help);
  text.append("\n# TYPE tunport_").append(name).append("_total counter\n");
}

void sample(std::string& text, std::string_view name, std::string_view labels, std::uint64_t value) {
  text.append("tunport_").append(name).append("_total{").append(labels).append("} ");
  text.append(std::to_string(value)).append("\n");
}

std::string label_of(const PortMetrics& port) {
  return std::string{"port=\""}.append(prometheus_label(port.port)).append("\"");
}

}  // namespace

std::string prometheus_label(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') text += '\\';
    text += c;
  }
  return text;
}

std::string to_prometheus(std::span<const PortMetrics> ports) {
  std::string text;
  for (const Metric& metric : metrics) {
    begin(text, metric.name, metric.help);
    for (const PortMetrics& port : ports) sample(text, metric.name, label_of(port), metric.value(port));
  }
  constexpr std::string_view drops = "dropped_packets";
  begin(text, drops, "Packets dropped by the port and its protocols, by reason.");
  for (const PortMetrics& port : ports)
    port.statistics.drops.for_each([&](DropReason reason, std::uint64_t count) {
      sample(text, drops,
             label_of(port).append(",reason=\"").append(prometheus_label(to_string(reason))).append("\""),
             count);
    });
  return text;
}

}  // namespace tunport
