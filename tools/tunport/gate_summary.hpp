#pragma once
/// What a gate has done, for people and for programs.

#include <cstddef>
#include <cstdint>
#include <string>

#include "tunport/gate/gate_options.hpp"
#include "tunport/gate/udp_relay.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport::tool {

struct GateSummary {
  TunnelAddress where;
  Statistics port;
  GateStatistics gate;
  UdpRelayStatistics udp;
  std::uint64_t bytes_out = 0;   ///< of TCP, from the clients
  std::uint64_t bytes_in = 0;    ///< of TCP, to the clients
  std::size_t most_at_once = 0;  ///< connections
  std::size_t flows_left = 0;    ///< connections that stood at the end, and were reset
};

/// A table, with the reasons of drops that occurred. Ends with a newline.
std::string to_table(const GateSummary& summary);
/// A line of JSON, without the newline: `{"port":{"name","kind","packets_in","packets_out","bytes_in",
/// "bytes_out","super_packets_in","super_packets_out","bursts","drops":{reason:count}},"gate":{"requests",
/// "accepted","refused","requests_expired","repeated_syns","resets","strangers","protocols_refused",
/// "icmp_translated","bytes_out",
/// "bytes_in","most_at_once","flows_left"},"udp":{"flows","flows_refused","flows_evicted","datagrams_out",
/// "datagrams_in","datagrams_dropped","errors_passed"}}`.
std::string to_json(const GateSummary& summary);

}  // namespace tunport::tool
