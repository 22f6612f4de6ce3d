#pragma once
/// TCP streams of iperf3 between the two namespaces of a measurement.

#include <functional>

#include "tunport/wire/address.hpp"

namespace tunport::bench {

/// The outcome of a stream.
struct TcpStream {
  double bits_per_second = 0;
  double bytes = 0;        ///< received
  double retransmits = 0;  ///< segments that the sender sent again
};

/// Which end sends.
enum class Direction : std::uint8_t { there, back };

/// Throws `NotHere` without iperf3.
void need_iperf();
/// Runs `streams` for `seconds`, at least 1, from a client to a server at `address` in another namespace, or
/// back. The client is in its namespace, without one here. Both ends run on both cores. Returns the sum of
/// the streams. Throws std::runtime_error for a failure.
TcpStream run_iperf(int server_namespace, Ipv4Address address, double seconds,
                    Direction direction = Direction::there, int client_namespace = -1, unsigned streams = 1);
/// Runs `call` in another namespace. Throws `Error` without a way in.
void inside(int network_namespace, const std::function<void()>& call);

}  // namespace tunport::bench
