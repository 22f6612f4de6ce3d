#pragma once
/// What a port has done.

#include <cstdint>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// Counters of a port since it was made; a restart does not reset them.
struct Statistics {
  std::uint64_t packets_in = 0;   ///< packets read; a super-packet counts as the datagrams that it is
  std::uint64_t packets_out = 0;  ///< packets that the kernel has taken; likewise
  std::uint64_t bytes_in = 0;     ///< their bytes, without the framing
  std::uint64_t bytes_out = 0;
  std::uint64_t super_packets_in = 0;   ///< reads that brought a super-packet
  std::uint64_t super_packets_out = 0;  ///< writes of one
  std::uint64_t bursts = 0;             ///< times the reactor said readable and something was there
  std::uint64_t exceptions = 0;         ///< thrown by protocols, caught by the port
  DropCounts drops;  ///< by reason, both ways: also what demultiplexers and the host dropped
};

}  // namespace tunport
