#pragma once
/// The ICMPv6 of a host: echoes, neighbour discovery, probes of own addresses, router advertisements.

#include <functional>

#include "tunport/event/reactor.hpp"
#include "tunport/host/host_state_internal.hpp"
#include "tunport/host/icmp_service_internal.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/wire/neighbor_discovery_internal.hpp"

namespace tunport {

/// See host.hpp. `state` outlives the service.
class Icmpv6Service : public TransportProtocol {
 public:
  /// Tells the way to a host on the link. False if nobody asked.
  using Found = std::function<bool(const IpAddress& host, const Arrival& arrival)>;

  Icmpv6Service(HostState& state, Found found) : state_{state}, found_{std::move(found)} {}

  void datagram_received(const IpDatagram& datagram) override;
  /// Probes the listed addresses on a TAP, and advertises what is usable. On TUN, the addresses are usable at
  /// once.
  void begin(FrameTransport& port);
  /// Ends what `begin` began on a port; null means every port.
  void lose_port(const FrameTransport* port);
  /// Asks the link for the hardware address of `host`. False if nothing was sent.
  bool ask(FrameTransport& port, const Ipv6Address& host, const Ipv6Address& from);
  /// True for a group that the host has joined: all nodes, the groups at which its addresses are asked for,
  /// and with an advertised prefix all routers.
  bool is_joined(const Ipv6Address& group) const;

 private:
  using Message = neighbor_discovery::Message;

  void echo(const IpDatagram& datagram, const Icmpv6View& icmp);
  void solicited(const IpDatagram& datagram, const Message& message);
  void advertised(const IpDatagram& datagram, const Message& message);
  void routers_solicited(const IpDatagram& datagram, const Message& message);
  void probed();
  void mark_duplicate(const Ipv6Address& address, const FrameTransport& port);
  void advertise(FrameTransport& port, const Ipv6Address& address);
  void advertise_prefix(FrameTransport& port, const Ipv6Address& to);
  void advertise_prefix_later();
  bool send(FrameTransport& port, const Ipv6Address& source, const Ipv6Address& group,
            const Icmpv6Header& header, Bytes body) const;

  HostState& state_;
  Found found_;
  FrameTransport* port_ = nullptr;  // of the timers
  Reactor::Timer probe_;
  Reactor::Timer advertisement_;
};

}  // namespace tunport
