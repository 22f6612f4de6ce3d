#pragma once
/// A small IPv4 host on a port: the host answers ARP, ICMP echo and UDP, and refuses other datagrams.
///
/// Theory. The host is a chain of demultiplexers, with a protocol each for ARP, ICMP, TCP and UDP, and a
/// screen before these. The screen drops and counts a datagram for another address, from no single host, or
/// from a link broadcast (RFC 1122 3.2.1.3, 3.3.6), and a datagram with a source route that has stations
/// left. So no broadcast, no forged group address, and no datagram from the host's own address has an answer.
///
/// A datagram without a receiver is refused: UDP by "port unreachable", TCP by a reset (RFC 9293 3.10.7.1),
/// another protocol by "protocol unreachable". ICMP errors keep the rules of RFC 1122 3.2.2: the screen keeps
/// out groups, fragments are dropped before, and ICMP has a protocol. Errors and resets have a bounded rate.
///
/// An echo reply has the DSCP of the request, and records the route if the request does (RFC 1122 3.2.2.6);
/// replies have no other options. Answers go back the way of the question, without a neighbour cache. A host
/// serves one TAP or TUN port, or several.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The settings of a `Host`.
struct HostOptions {
  /// The addresses of the host.
  std::vector<Ipv4Address> addresses{};
  /// The MAC address of the host on TAP. By default the address is made of the first of `addresses` and of
  /// the interface's name: the same at each start, another for each host, never that of the kernel's side.
  std::optional<MacAddress> mac{};
  /// The subnets on the link. Datagrams from the broadcast address of a subnet are dropped.
  std::vector<IpPrefix> subnets{};
  /// ICMP errors a second, and TCP resets a second. Datagrams beyond the rate are counted as `rate_limited`.
  double errors_per_second = 100;
  /// ICMP errors at once, and TCP resets at once.
  double errors_at_once = 50;
};

/// The answers of a host. A refused datagram is counted as dropped, too.
struct HostStatistics {
  std::uint64_t arp_replies = 0;           ///< answers to ARP requests
  std::uint64_t arp_requests = 0;          ///< questions for receivers on the link
  std::uint64_t arp_announcements = 0;     ///< ARP packets of `Host::announce`
  std::uint64_t icmp_echo_replies = 0;     ///< answers to pings
  std::uint64_t port_unreachable = 0;      ///< ICMP errors: no endpoint at the UDP port
  std::uint64_t protocol_unreachable = 0;  ///< ICMP errors: neither ICMP nor UDP nor TCP
  std::uint64_t tcp_resets = 0;            ///< resets: the host has no TCP
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
  /// heard of recently is asked for by ARP, and one datagram waits meanwhile.
  void add_udp(int port, DatagramProtocol& endpoint);
  /// Removes an endpoint. No effect if the endpoint is not there.
  void remove_udp(int port, DatagramProtocol& endpoint);

  /// The MAC address in use. A start of the first TAP port makes the address anew, unless the options had
  /// one.
  const MacAddress& mac() const { return mac_; }
  /// Writes an ARP announcement (RFC 5227 3) for each address to a TAP port: neighbours and switches learn
  /// the MAC address. The start of the first port announces by itself, if the interface is up then; a
  /// `LinkWatch` tells when the interface comes up later. The port counts refusals. No effect on TUN.
  void announce(FrameTransport& port);

  /// The answers so far. Valid as long as the host.
  const HostStatistics& statistics() const { return statistics_; }

 private:
  class Arp;
  class Ip;
  class Icmp;
  class Tcp;
  class Udp;
  struct Rooms;

  void settle_mac(const LinkInfo& interface);

  HostOptions options_;
  MacAddress mac_;
  HostStatistics statistics_;
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace tunport
