#pragma once
/// A small host on a port, IPv4 and IPv6: the host answers ARP, neighbour discovery, ICMP echo and UDP, and
/// refuses other datagrams.
///
/// Theory. The host is a chain of demultiplexers, with a protocol each for ARP, ICMP, ICMPv6, TCP and UDP,
/// and a screen before these. The screen drops and counts a datagram for another address, from no single
/// host, or from a link broadcast (RFC 1122 3.2.1.3, 3.3.6), and a datagram with a source route that has
/// stations left. So no broadcast, no forged group address, and no datagram from the host's own address has
/// an answer. Groups are for neighbour discovery only.
///
/// A datagram without a receiver is refused: UDP by "port unreachable", TCP by a reset (RFC 9293 3.10.7.1),
/// another protocol by "protocol unreachable" or "parameter problem". ICMP errors keep the rules of RFC
/// 1122 3.2.2 and RFC 4443 2.4 (e): the screen keeps out groups, and ICMP has a protocol. Errors and resets
/// have a bounded rate. "Parameter problem" tells also of faults of IPv6 headers (RFC 8200 4.2, 4.4, 4.5, and
/// 4 for hop-by-hop options in a wrong place); an ICMPv6 error with such a fault has no answer.
///
/// An echo reply has the DSCP of the request, and records the route if the request does (RFC 1122 3.2.2.6);
/// replies have no other options. Answers go back the way of the question, without a neighbour cache, in
/// fragments where the link or the path asks for them. A host serves one TAP or TUN port, or several.
///
/// On a TAP, a host with IPv6 has a link-local address of its MAC address besides. Each listed IPv6 address
/// is probed for a second before use (RFC 4862 5.4); a duplicate is logged, and not used.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The settings of a `Host`.
struct HostOptions {
  /// The addresses of the host, IPv4 and IPv6.
  std::vector<IpAddress> addresses{};
  /// Prefixes of which every address is the host's, without state for each: but for an address of the
  /// interface's side, the network's and the broadcast address. The kernel's probe for a duplicate (RFC 5227,
  /// RFC 4862) is not answered.
  std::vector<IpPrefix> prefixes{};
  /// The MAC address of the host on TAP. By default the address is made of the first of `addresses` and of
  /// the interface's name: the same at each start, another for each host, never that of the kernel's side.
  std::optional<MacAddress> mac{};
  /// The addresses of the interface's side, with their subnets. Datagrams from the broadcast address of a
  /// subnet are dropped.
  std::vector<IpPrefix> subnets{};
  /// An IPv6 prefix for the stations of a TAP, advertised as on-link and for addresses of their own (RFC
  /// 4861, RFC 4862), at the start, at NETDEV_UP, each five minutes, and when asked. The host is no router:
  /// the advertised router lifetime is 0. A length of 64 is what Linux and others accept.
  std::optional<IpPrefix> advertised{};
  /// An IPv4 subnet whose free addresses are leased by DHCP to stations of a TAP (RFC 2131), for an hour
  /// each, to at most 256 stations. Router, name server and DHCP server are the first IPv4 address of
  /// `addresses`, which must be in the subnet.
  std::optional<IpPrefix> dhcp{};
  /// ICMP errors a second, and TCP resets a second. Datagrams beyond the rate are counted as `rate_limited`.
  double errors_per_second = 100;
  /// ICMP errors at once, and TCP resets at once.
  double errors_at_once = 50;
};

/// The answers of a host. A refused datagram is counted as dropped, too.
struct HostStatistics {
  std::uint64_t arp_replies = 0;              ///< answers to ARP requests
  std::uint64_t arp_requests = 0;             ///< questions for receivers on the link
  std::uint64_t arp_announcements = 0;        ///< ARP packets of `Host::announce`
  std::uint64_t neighbor_advertisements = 0;  ///< answers to neighbour solicitations, and unsolicited ones
  std::uint64_t neighbor_solicitations =
      0;  ///< questions for receivers on the link, and probes for duplicates
  std::uint64_t router_advertisements = 0;  ///< of `HostOptions::advertised`
  std::uint64_t duplicate_addresses = 0;    ///< IPv6 addresses that another station has
  std::uint64_t dhcp_answers = 0;           ///< offers, acknowledgements and refusals of the DHCP server
  std::uint64_t icmp_echo_replies = 0;      ///< answers to pings of IPv4
  std::uint64_t icmpv6_echo_replies = 0;    ///< answers to pings of IPv6
  std::uint64_t port_unreachable = 0;       ///< ICMP errors: no endpoint at the UDP port
  std::uint64_t protocol_unreachable = 0;   ///< ICMP errors: neither ICMP nor UDP nor TCP
  std::uint64_t parameter_problems = 0;     ///< ICMP errors: a fault of an IPv6 header, option or fragment
  std::uint64_t reassembly_timeouts = 0;    ///< ICMP errors: fragments were missing
  std::uint64_t path_mtu_updates = 0;       ///< ICMP messages of a narrower path, believed
  std::uint64_t reassembled = 0;            ///< datagrams put together from fragments
  std::uint64_t tcp_resets = 0;             ///< resets: the host has no TCP
};

/// See the theory above. `Host host{{.addresses = {"10.0.0.2"}}};`
/// `TuntapPort port{reactor, "tap0", host.ethernet()};` The host outlives its ports, and borrows its
/// endpoints.
class Host {
 public:
  /// A host without endpoints.
  explicit Host(HostOptions options);
  ~Host();

  /// The protocol of a TAP port.
  EthernetFrameProtocol& ethernet();
  /// The protocol of a TUN port.
  IpPacketProtocol& ip();
  /// The protocol of a port of the given kind.
  FrameProtocol& protocol(DeviceKind kind);

  /// Adds an endpoint at the UDP port `port` of every address; std::out_of_range unless 0 to 65535. The
  /// endpoint's `transport().write_to(to, ...)` and `reply` send at any time: on TAP, a host that was not
  /// heard of recently is asked for by ARP or neighbour discovery, and one datagram waits meanwhile.
  void add_udp(int port, DatagramProtocol& endpoint);
  /// Removes an endpoint. No effect if the endpoint is not there.
  void remove_udp(int port, DatagramProtocol& endpoint);

  /// The MAC address in use. A start of the first TAP port makes the address anew, unless the options had
  /// one.
  const MacAddress& mac() const;
  /// Tells the link of a TAP port about the host: an ARP announcement for each listed IPv4 address (RFC 5227
  /// 3), probes and then an unsolicited advertisement for each listed IPv6 address, a router advertisement if
  /// asked for. A port announces by itself whenever the interface is up or comes up
  /// (`FrameProtocol::link_changed`). The port counts refusals. No effect on TUN.
  void announce(FrameTransport& port);
  /// True once the probes of the listed IPv6 addresses are over, the link-local one's included: each address
  /// is in use, or a duplicate. On a TAP false until a second after the interface came up; true without IPv6.
  bool addresses_are_settled() const;

  /// The answers so far. Valid as long as the host.
  const HostStatistics& statistics() const;

 private:
  struct Rooms;

  std::unique_ptr<Rooms> rooms_;
};

}  // namespace tunport
