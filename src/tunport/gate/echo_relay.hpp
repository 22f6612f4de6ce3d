#pragma once
/// A relay of pings: ICMP and ICMPv6 echo requests to any destination go on by ping sockets, and replies come
/// back.
///
///     EchoRelay echo{reactor};
///     ip.add_proto(ip_protocol::icmp, echo);    // an IpDemux on a TUN
///     ip.add_proto(ip_protocol::icmpv6, echo);
///
/// Theory. A flow is a client's address and identifier together with a destination. Each flow has a ping
/// socket (icmp(7)), connected to the destination, in the network namespace of the thread that runs the
/// relay. A ping socket needs no privilege, but the process's group in net.ipv4.ping_group_range, root's
/// included; the range counts for IPv6, too. The kernel gives the outer requests an identifier of their own,
/// which is translated back; sequence number and payload stay. Replies come from the asked address with a hop
/// limit of
/// 64. Errors of the outer sockets go to the client as ICMP errors that quote the request's headers, rebuilt.
/// A destination must not be routed back into the relay's interface.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "tunport/event/reactor.hpp"
#include "tunport/protocol/ip_demux.hpp"

namespace tunport {

/// The options of an echo relay.
struct EchoRelayOptions {
  /// The most flows at a time, one socket each; at least 1. The least recently used flow makes room.
  std::size_t flows = 256;
  /// The time of a flow after the client's last request; at least 1 s. A flow may last some seconds longer.
  Duration idle = std::chrono::seconds{60};
  /// The address that a flow is connected to; nothing, or one of the other family, refuses the flow (ICMP
  /// "administratively prohibited"). Called once for each flow. Empty, the default: the destination itself.
  std::function<std::optional<IpAddress>(const IpAddress& source, const IpAddress& destination)> target = {};
  /// Where ping sockets are not allowed: true for replies by the relay itself, whatever the destination;
  /// false for the ICMP error "administratively prohibited".
  bool answer_locally = false;
  /// Called with each message other than an echo request; true: taken. Borrowed for the call. Empty, the
  /// default: nothing is taken.
  std::function<bool(const IpDatagram& datagram)> on_error = {};
};

/// The counters of an echo relay.
struct EchoRelayStatistics {
  std::uint64_t flows = 0;          ///< flows made
  std::uint64_t flows_refused = 0;  ///< refused by `target` or by this host; requests, not answered locally
  std::uint64_t flows_evicted = 0;  ///< ended for room: in the table, or among the descriptors
  std::uint64_t requests = 0;       ///< from clients, sent to destinations
  std::uint64_t replies = 0;        ///< from destinations, sent to clients
  std::uint64_t dropped = 0;        ///< of either direction, of flows that stand
  std::uint64_t answered_locally = 0;   ///< see `EchoRelayOptions::answer_locally`
  std::uint64_t errors_passed = 0;      ///< ICMP errors sent to clients
  std::uint64_t errors_suppressed = 0;  ///< not sent: no port, not allowed, or beyond 1,000 a second
};

/// See the theory above. Drops: `icmp_short`, `icmp_bad_checksum`; `icmp_unhandled` for a message that is
/// neither an echo request to a single host nor taken by `on_error`. For the reactor's thread; the reactor
/// outlives the relay. Not to be destroyed in a call of its port.
class EchoRelay final : public TransportProtocol {
 public:
  /// Throws std::invalid_argument for options out of range.
  explicit EchoRelay(Reactor& reactor, EchoRelayOptions options = {});
  ~EchoRelay() override;

  void stop_protocol() override;
  void datagram_received(const IpDatagram& datagram) override;
  std::string name() const override { return "EchoRelay"; }

  /// The number of flows that stand.
  std::size_t flows() const;
  /// Ends every flow.
  void end_flows();
  /// The counters.
  const EchoRelayStatistics& statistics() const;

 private:
  class Flow;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tunport
