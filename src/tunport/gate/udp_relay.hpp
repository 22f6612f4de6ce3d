#pragma once
/// A relay of UDP: datagrams to any destination go on by the program's own sockets, and answers come back.
///
///     UdpRelay relay{reactor};
///     relay.send_errors_to(&gate.port());
///     gate.udp().add_default(relay);
///
/// Theory. A flow is a client's address and port together with a destination's. Each flow has an outer
/// socket, connected to the destination, in the network namespace of the thread that runs the relay. Answers
/// go to the client from the asked address and port, as the demultiplexer's tickets have it (`ReplyTo`). A
/// flow ends after its idle time, counted from the client's last datagram (RFC 4787 4.3, REQ-5, REQ-6).
/// Errors of the outer sockets go to the client as ICMP errors: a connected socket of the client sees
/// ECONNREFUSED. They quote an IP and a UDP header that are rebuilt from the flow, with the length of the
/// last datagram.
///
/// DSCP and ECN of the client's datagrams are copied to the outer datagrams, not those of answers. Groups and
/// broadcast addresses are not relayed. A destination must not be routed back into the relay's interface.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The options of a UDP relay.
struct UdpRelayOptions {
  /// The most flows at a time, one socket each; at least 1. The least recently used flow makes room.
  std::size_t flows = 4096;
  /// The time of a flow after the client's last datagram; at least 2 minutes (RFC 4787 REQ-5). A flow may
  /// last some seconds longer.
  Duration idle = std::chrono::minutes{2};
  /// The time of a flow to port 53 that has had an answer (RFC 4787 REQ-5 b allows shorter times for
  /// well-known ports); at least 5 s.
  Duration idle_dns = std::chrono::seconds{10};
  /// The address and port that a flow is connected to; nothing refuses the flow (ICMP port unreachable).
  /// Called once for each flow. Empty, the default: the destination itself.
  std::function<std::optional<Endpoint>(const Endpoint& source, const Endpoint& destination)> target = {};
  /// Makes a flow's socket, AF_INET or AF_INET6, non-blocking; empty, with errno, for a failure. Empty, the
  /// default: a socket of the network namespace of the relay's thread.
  std::function<UniqueFd(int family)> socket = {};
};

/// The counters of a UDP relay.
struct UdpRelayStatistics {
  std::uint64_t flows = 0;              ///< flows made
  std::uint64_t flows_refused = 0;      ///< refused by `target` or by this host, or to a group
  std::uint64_t flows_evicted = 0;      ///< ended for room: in the table, or among the descriptors
  std::uint64_t datagrams_out = 0;      ///< from clients, sent to destinations
  std::uint64_t datagrams_in = 0;       ///< from destinations, sent to clients
  std::uint64_t datagrams_dropped = 0;  ///< of either direction, of flows that stand
  std::uint64_t errors_passed = 0;      ///< ICMP errors sent to clients
  std::uint64_t errors_suppressed = 0;  ///< not sent: no port, not allowed, or beyond 1,000 a second
};

/// See the theory above. For the reactor's thread; the reactor outlives the relay. Remove the relay from its
/// demultiplexer before destroying it, and do not destroy it in a call of its port or its demultiplexer.
class UdpRelay final : public DatagramProtocol {
 public:
  /// Throws std::invalid_argument for options out of range.
  explicit UdpRelay(Reactor& reactor, UdpRelayOptions options = {});
  ~UdpRelay() override;

  /// Sends ICMP errors to clients through `port`, a TUN, from now on; null, as at first: no errors are sent.
  /// Borrowed until the next call, or the relay's end.
  void send_errors_to(FrameTransport* port);

  void stop_protocol() override;
  void datagram_received(const Datagram& datagram) override;
  /// The run goes out in one call, where the kernel segments (UDP_SEGMENT).
  void datagrams_received(const Datagrams& run) override;
  /// True.
  bool accepts_super_packets() const override { return true; }
  std::string name() const override { return "UdpRelay"; }

  /// The number of flows that stand.
  std::size_t flows() const;
  /// Ends every flow.
  void end_flows();
  /// The counters.
  const UdpRelayStatistics& statistics() const;

 private:
  class Flow;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tunport
