#include "tunport/port/statistics.hpp"

#include <ostream>
#include <sstream>

namespace tunport {

std::string to_string(const Statistics& statistics) {
  std::ostringstream out;
  out << statistics;
  return out.str();
}

std::ostream& operator<<(std::ostream& out, const Statistics& statistics) {
  out << "in " << statistics.packets_in << " packets, " << statistics.bytes_in << " bytes, "
      << statistics.super_packets_in << " super-packets; out " << statistics.packets_out << " packets, "
      << statistics.bytes_out << " bytes, " << statistics.super_packets_out << " super-packets, "
      << statistics.super_packets_refused << " refused; " << statistics.bursts << " bursts; "
      << statistics.exceptions << " exceptions; dropped " << statistics.drops.total();
  if (statistics.drops.total() != 0) out << ": " << statistics.drops;
  return out;
}

}  // namespace tunport
