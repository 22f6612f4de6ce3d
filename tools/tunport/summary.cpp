#include "summary.hpp"

#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tunport::tool {
namespace {

/// 1234567 as "1,234,567".
std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

}  // namespace

std::string to_table(const HostSummary& summary, unsigned columns) {
  std::string text;
  const auto out = std::back_inserter(text);
  const auto row = [&](std::string_view what, std::uint64_t count) {
    fmt::format_to(out, "  {:<22}{:>14}\n", what, grouped(count));
  };
  const auto rare = [&](std::string_view what, std::uint64_t count) {
    if (count != 0) row(what, count);
  };
  const auto& port = summary.port;
  fmt::format_to(out, "{:<24}{:>14}{:>18}{:>18}\n", to_string(summary.where), "packets", "bytes",
                 "super-packets");
  const auto traffic = [&](std::string_view what, std::uint64_t packets, std::uint64_t bytes,
                           std::uint64_t super_packets) {
    fmt::format_to(out, "  {:<22}{:>14}{:>18}{:>18}\n", what, grouped(packets), grouped(bytes),
                   grouped(super_packets));
  };
  traffic("received", port.packets_in, port.bytes_in, port.super_packets_in);
  traffic("sent", port.packets_out, port.bytes_out, port.super_packets_out);
  fmt::format_to(out, "answered\n");
  if (summary.where.kind == DeviceKind::tap) {
    row("ARP", summary.host.arp_replies);
    row("ARP announcements", summary.host.arp_announcements);
    rare("neighbor discovery", summary.host.neighbor_advertisements);
    rare("router advertisements", summary.host.router_advertisements);
  }
  rare("DHCP", summary.host.dhcp_answers);
  row("ICMP echo", summary.host.icmp_echo_replies);
  rare("ICMPv6 echo", summary.host.icmpv6_echo_replies);
  row("UDP echo", summary.udp_echoes);
  row("port unreachable", summary.host.port_unreachable);
  row("protocol unreachable", summary.host.protocol_unreachable);
  row("TCP reset", summary.host.tcp_resets);
  rare("parameter problem", summary.host.parameter_problems);
  rare("fragments missing", summary.host.reassembly_timeouts);
  fmt::format_to(out, "dropped\n");
  bool all_are_explained = true;
  port.drops.for_each([&](DropReason reason, std::uint64_t count) {
    std::string line = fmt::format("  {:<22}{:>14}", to_string(reason), grouped(count));
    const std::string_view explanation = explanation_of(reason);
    const bool has_room = line.size() + 2 + explanation.size() <= columns;
    if (has_room) line.append("  ").append(explanation);
    all_are_explained = all_are_explained && has_room;
    text += line + '\n';
  });
  if (summary.kernel_drops != 0) row("by the kernel, unread", summary.kernel_drops);
  if (port.drops.total() == 0 && summary.kernel_drops == 0) fmt::format_to(out, "  nothing\n");
  if (port.exceptions != 0) {
    fmt::format_to(out, "failed\n");
    row("exceptions", port.exceptions);
  }
  if (!all_are_explained) fmt::format_to(out, "'tunport host --explain REASON' says more of a drop\n");
  return text;
}

std::string to_json(const HostSummary& summary) {
  using Json = nlohmann::ordered_json;
  Json drops = Json::object();
  summary.port.drops.for_each(
      [&](DropReason reason, std::uint64_t count) { drops[std::string{to_string(reason)}] = count; });
  const Json json = {
      {"port",
       {{"name", summary.where.name},
        {"kind", to_string(summary.where.kind)},
        {"packets_in", summary.port.packets_in},
        {"packets_out", summary.port.packets_out},
        {"bytes_in", summary.port.bytes_in},
        {"bytes_out", summary.port.bytes_out},
        {"super_packets_in", summary.port.super_packets_in},
        {"super_packets_out", summary.port.super_packets_out},
        {"super_packets_refused", summary.port.super_packets_refused},
        {"bursts", summary.port.bursts},
        {"drops", drops},
        {"exceptions", summary.port.exceptions},
        {"kernel_drops", summary.kernel_drops}}},
      {"host",
       {{"arp_replies", summary.host.arp_replies},
        {"arp_requests", summary.host.arp_requests},
        {"arp_announcements", summary.host.arp_announcements},
        {"neighbor_advertisements", summary.host.neighbor_advertisements},
        {"neighbor_solicitations", summary.host.neighbor_solicitations},
        {"router_advertisements", summary.host.router_advertisements},
        {"duplicate_addresses", summary.host.duplicate_addresses},
        {"dhcp_answers", summary.host.dhcp_answers},
        {"icmp_echo_replies", summary.host.icmp_echo_replies},
        {"icmpv6_echo_replies", summary.host.icmpv6_echo_replies},
        {"reassembled", summary.host.reassembled},
        {"udp_echoes", summary.udp_echoes},
        {"port_unreachable", summary.host.port_unreachable},
        {"protocol_unreachable", summary.host.protocol_unreachable},
        {"parameter_problems", summary.host.parameter_problems},
        {"reassembly_timeouts", summary.host.reassembly_timeouts},
        {"path_mtu_updates", summary.host.path_mtu_updates},
        {"tcp_resets", summary.host.tcp_resets}}},
  };
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tunport::tool
