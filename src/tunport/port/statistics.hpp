#pragma once
/// The counters of a port.

#include <cstdint>
#include <iosfwd>
#include <string>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// Counters of a port since it was made; a restart does not reset them.
struct Statistics {
  std::uint64_t packets_in = 0;         ///< packets read; a super-packet counts as its datagrams
  std::uint64_t packets_out = 0;        ///< packets taken by the kernel, counted likewise
  std::uint64_t bytes_in = 0;           ///< bytes of `packets_in`, without the framing
  std::uint64_t bytes_out = 0;          ///< bytes of `packets_out`, without the framing
  std::uint64_t super_packets_in = 0;   ///< super-packets read
  std::uint64_t super_packets_out = 0;  ///< super-packets taken by the kernel
  /// Super-packets that the kernel refused, and that were written again as their datagrams.
  std::uint64_t super_packets_refused = 0;
  std::uint64_t bursts = 0;      ///< bursts that read a packet
  std::uint64_t exceptions = 0;  ///< exceptions from protocols, caught by the port
  DropCounts drops;              ///< by reason, both ways: drops of demultiplexers and the host too
};
/// One line: "in 3 packets, 252 bytes, 0 super-packets; out 2 packets, 168 bytes, 1 super-packets, 0 refused;
/// 1 bursts; 0 exceptions; dropped 1: unknown_udp_port 1".
std::string to_string(const Statistics& statistics);
/// Prints the text form.
std::ostream& operator<<(std::ostream& out, const Statistics& statistics);

}  // namespace tunport
