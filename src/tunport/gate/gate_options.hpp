#pragma once
/// The options and the counters of a gate.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "tunport/event/reactor.hpp"
#include "tunport/port/port_options.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// What a client is told of a connection that is not accepted.
enum class GateRefusal : std::uint8_t {
  reset,                ///< TCP RST: the client's connect fails with ECONNREFUSED
  host_unreachable,     ///< ICMP: EHOSTUNREACH
  network_unreachable,  ///< ICMP: ENETUNREACH
  prohibited,           ///< ICMP, administratively prohibited: EHOSTUNREACH (IPv6: EACCES)
  drop,                 ///< nothing: the client tries again until its own timeout
};
/// What a client should be told where an outgoing connection failed with `ec`: "refused" as a reset, "timed
/// out" as nothing, unreachable and forbidden destinations as such. Other errors: a reset.
GateRefusal refusal_for(const std::error_code& ec);

/// The options of a gate. The defaults suit most programs.
struct GateOptions {
  /// The most TCP connections at a time, some 180 bytes each; beyond them, connections that are not accepted
  /// yet make room, then clients are reset (`too_many_flows`). At most 32,768. Ended connections are
  /// remembered besides, as many again, for up to a minute.
  std::size_t max_flows = 16'384;
  /// The most requests that wait for the program's decision at a time, each with its SYN; the oldest makes
  /// room.
  std::size_t max_requests = 4'096;
  /// A connection without a packet for so long is forgotten, and reset at its next packet; at least 2 h 4 min
  /// (RFC 5382 REQ-5). Accepted sockets have TCP keepalive, so that a connection with both ends alive is
  /// never idle.
  Duration idle_timeout = std::chrono::minutes{130};
  /// Resets to unknown segments, and ICMP errors, for each second.
  double resets_per_second = 1000;
  /// Where pings go, as `EchoRelayOptions::target`. Empty, the default: to their destination.
  std::function<std::optional<IpAddress>(const IpAddress& source, const IpAddress& destination)> ping_target =
      {};
  /// Called once for each listener whose way is closed: the kernel has not answered the gate's own SYN within
  /// two seconds of the start, or of the link's; a firewall drops what comes in from the interface, or
  /// rp_filter, and connections will time out. Empty, the default: a warning in the log. Not looked into for
  /// listeners that the program gave, and without room for a further address in the interface's subnet.
  std::function<void(const Endpoint& listener)> on_closed_way = {};
  /// The options of the TUN port: `interface` names addresses, routes and MTU.
  PortOptions port = {};
};

/// The counters of a gate.
struct GateStatistics {
  std::uint64_t requests = 0;           ///< connections asked for by clients
  std::uint64_t accepted = 0;           ///< of these, given to the program as sockets
  std::uint64_t refused = 0;            ///< of these, refused by the program
  std::uint64_t requests_expired = 0;   ///< of these, given up by the client, or displaced by others
  std::uint64_t repeated_syns = 0;      ///< SYNs that came again while the program decided
  std::uint64_t resets = 0;             ///< RST for segments of no connection, and for want of room
  std::uint64_t strangers = 0;          ///< connections at the listener that no client asked for: closed
  std::uint64_t protocols_refused = 0;  ///< datagrams besides TCP, UDP and ICMP: protocol unreachable
  std::uint64_t icmp_translated = 0;    ///< ICMP errors about connections, passed on to the kernel's socket
};

}  // namespace tunport
