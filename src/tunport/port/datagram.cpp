#include "tunport/port/datagram.hpp"

namespace tunport {

void DatagramErrorCounts::add(const DatagramError& error) {
  if (error.code == std::errc::connection_refused)
    ++port_unreachable;
  else if (error.code == std::errc::host_unreachable || error.code == std::errc::permission_denied)
    ++host_unreachable;
  else if (error.code == std::errc::network_unreachable)
    ++network_unreachable;
  else if (error.code == std::errc::message_size)
    ++too_big;
  else
    ++other;
}

}  // namespace tunport
