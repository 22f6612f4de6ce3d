#include "gate_summary.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tunport::tool {

std::string to_table(const GateSummary& summary) {
  const GateStatistics& gate = summary.gate;
  const Statistics& port = summary.port;
  std::string text = fmt::format("{} as a gate\n", to_string(summary.where));
  const auto row = [&](std::string_view what, std::uint64_t count) {
    text += fmt::format("  {:<24}{:>14}\n", what, count);
  };
  row("connections asked for", gate.requests);
  row("accepted", gate.accepted);
  row("refused", gate.refused);
  row("given up by the client", gate.requests_expired);
  row("most at once", summary.most_at_once);
  row("bytes out", summary.bytes_out);
  row("bytes in", summary.bytes_in);
  if (gate.resets != 0) row("resets sent", gate.resets);
  if (summary.flows_left != 0) row("cut off at the end", summary.flows_left);
  if (summary.udp.flows != 0) {
    row("flows of UDP", summary.udp.flows);
    text += fmt::format("  {:<24}{:>14} in, {} out\n", "datagrams of UDP", summary.udp.datagrams_in,
                        summary.udp.datagrams_out);
  }
  text += fmt::format("  {:<24}{:>14} in, {} out\n", "packets", port.packets_in, port.packets_out);
  text += fmt::format("  {:<24}{:>14} in, {} out\n", "super-packets", port.super_packets_in,
                      port.super_packets_out);
  row("dropped", port.drops.total());
  port.drops.for_each([&](DropReason reason, std::uint64_t count) {
    text += fmt::format("    {:<22}{:>14}  {}\n", to_string(reason), count, explanation_of(reason));
  });
  return text;
}

std::string to_json(const GateSummary& summary) {
  const Statistics& port = summary.port;
  const GateStatistics& gate = summary.gate;
  nlohmann::ordered_json drops = nlohmann::ordered_json::object();
  port.drops.for_each(
      [&](DropReason reason, std::uint64_t count) { drops[std::string{to_string(reason)}] = count; });
  const nlohmann::ordered_json line{{"port",
                                     {{"name", summary.where.name},
                                      {"kind", to_string(summary.where.kind)},
                                      {"packets_in", port.packets_in},
                                      {"packets_out", port.packets_out},
                                      {"bytes_in", port.bytes_in},
                                      {"bytes_out", port.bytes_out},
                                      {"super_packets_in", port.super_packets_in},
                                      {"super_packets_out", port.super_packets_out},
                                      {"bursts", port.bursts},
                                      {"drops", drops}}},
                                    {"gate",
                                     {{"requests", gate.requests},
                                      {"accepted", gate.accepted},
                                      {"refused", gate.refused},
                                      {"requests_expired", gate.requests_expired},
                                      {"repeated_syns", gate.repeated_syns},
                                      {"resets", gate.resets},
                                      {"strangers", gate.strangers},
                                      {"protocols_refused", gate.protocols_refused},
                                      {"icmp_translated", gate.icmp_translated},
                                      {"bytes_out", summary.bytes_out},
                                      {"bytes_in", summary.bytes_in},
                                      {"most_at_once", summary.most_at_once},
                                      {"flows_left", summary.flows_left}}},
                                    {"udp",
                                     {{"flows", summary.udp.flows},
                                      {"flows_refused", summary.udp.flows_refused},
                                      {"flows_evicted", summary.udp.flows_evicted},
                                      {"datagrams_out", summary.udp.datagrams_out},
                                      {"datagrams_in", summary.udp.datagrams_in},
                                      {"datagrams_dropped", summary.udp.datagrams_dropped},
                                      {"errors_passed", summary.udp.errors_passed}}}};
  return line.dump();
}

}  // namespace tunport::tool
