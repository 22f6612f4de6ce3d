#pragma once
/// What a host on a port has done, for people and for programs.

#include <cstdint>
#include <limits>
#include <string>

#include "tunport/host/host.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport::tool {

struct HostSummary {
  TunnelAddress where;
  Statistics port;
  HostStatistics host;
  std::uint64_t udp_echoes = 0;
  std::uint64_t kernel_drops = 0;  ///< packets without a reader in time
};

/// A table, with the reasons of drops that occurred. Each reason has an explanation beside the count where
/// `columns` leave room, or else the last line says how to ask. Ends with a newline.
std::string to_table(const HostSummary& summary, unsigned columns = std::numeric_limits<unsigned>::max());
/// A line of JSON, without the newline: `{"port":{"name","kind","packets_in","packets_out","bytes_in",
/// "bytes_out","super_packets_in","super_packets_out","super_packets_refused","bursts","drops":{reason:count},
/// "exceptions","kernel_drops"},"host":{"arp_replies","arp_requests","arp_announcements",
/// "neighbor_advertisements","neighbor_solicitations","router_advertisements","duplicate_addresses",
/// "dhcp_answers","icmp_echo_replies","icmpv6_echo_replies","reassembled","udp_echoes","port_unreachable",
/// "protocol_unreachable","parameter_problems","reassembly_timeouts","path_mtu_updates","tcp_resets"}}`.
std::string to_json(const HostSummary& summary);

}  // namespace tunport::tool
