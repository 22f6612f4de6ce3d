#pragma once
/// The place where a port's drops are counted.

#include "tunport/base/probes_internal.hpp"
#include "tunport/port/statistics.hpp"

namespace tunport {

/// Counts `n` datagrams as dropped for `reason`, and tells the probe `tunport:drop`.
inline void count_drop(Statistics& statistics, DropReason reason, std::uint64_t n = 1) {
  TUNPORT_PROBE(drop, static_cast<int>(reason), n);
  statistics.drops.add(reason, n);
}

}  // namespace tunport
