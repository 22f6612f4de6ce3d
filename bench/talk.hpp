#pragma once
/// Servers and clients of small TCP connections.

#include <cstddef>
#include <cstdint>

#include "tunport/base/unique_fd.hpp"
#include "tunport/wire/address.hpp"

#include "stage.hpp"

namespace tunport::bench {

/// Serves in a namespace, until killed: on port 7 each byte comes back; on port 13 each client gets a byte
/// and the end.
void serve(int network_namespace, const std::function<void()>& ready);

/// True if a connection to the server can be made in the namespace, within two seconds.
bool can_connect(int network_namespace, Ipv4Address server);

/// Makes connections to port 13 for `seconds`, `at_once` at a time. Each reads the byte and the end, and
/// closes. Returns the number of connections per second. Throws for a connection that fails.
double connections_per_second(Ipv4Address server, std::size_t at_once, double seconds);

/// Sends a byte to port 7, waits for the byte, and so on for `seconds`. Returns the median of the times of a
/// round, in microseconds.
double round_trip_time(Ipv4Address server, double seconds);

/// Makes `count` connections to port 7, with a byte there and back on each, and keeps them.
std::vector<UniqueFd> hold_connections(Ipv4Address server, std::size_t count);

}  // namespace tunport::bench
