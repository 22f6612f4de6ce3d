#pragma once
/// A small IPv4 host on a port: it answers ARP, ICMP echo and UDP, and refuses what nobody serves.
///
/// Theory. The host is the demultiplexers with three protocols behind them, and a screen in front: a datagram
/// is for one of our addresses, came from a single host, and to us alone, or it is dropped and counted (RFC
/// 1122 3.2.1.3, 3.3.6), as is a datagram with a source route that has stations left. So no answer can be had
/// by a broadcast, a forged group address or our own address. A datagram that nobody serves is refused: UDP
/// by "port unreachable", TCP by a reset (RFC 9293 3.10.7.1), another protocol by "protocol unreachable".
/// ICMP errors are made only where RFC 1122 3.2.2 allows them: the screen keeps out groups, fragments never
/// arrive, and ICMP has a protocol. Errors and resets have a bounded rate. An echo has the DSCP of the
/// request, and its route recorded (RFC 1122 3.2.2.6); other options are not answered. Answers go back the
/// way the question came, so the host needs no neighbour cache. It serves one TAP or TUN port, or several.

#include <cstdint>
#include <memory>
#include <vector>

#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// What a host is.
struct HostOptions {
  /// Those that are answered.
  std::vector<Ipv4Address> addresses{};
  /// On TAP: ours. Locally administered by default.
  MacAddress mac{{0x02, 0x74, 0x75, 0x6e, 0x00, 0x02}};
  /// The subnets on the link, so that their broadcast addresses are known: nothing from there is answered.
  std::vector<IpPrefix> subnets{};
  /// ICMP errors a second, and TCP resets a second. Datagrams beyond the rate are counted as `rate_limited`.
  double errors_per_second = 100;
  /// ICMP errors at once, and TCP resets at once.
  double errors_at_once = 50;
};

/// What a host has answered. A refused datagram is counted as dropped, too.
struct HostStatistics {
  std::uint64_t arp_replies = 0;
  std::uint64_t arp_requests = 0;  ///< for receivers of our own datagrams
  std::uint64_t icmp_echo_replies = 0;
  std::uint64_t port_unreachable = 0;      ///< ICMP errors: no endpoint at the UDP port
  std::uint64_t protocol_unreachable = 0;  ///< ICMP errors: neither ICMP nor UDP nor TCP
  std::uint64_t tcp_resets = 0;            ///< there is no TCP here: each segment is reset
};

/// See the theory above. `Host host{{.addresses = {"10.0.0.2"}}};`
/// `TuntapPort port{reactor, "tap0", host.ethernet()};` The host outlives its ports, and borrows its
/// endpoints.
class Host {
 public:
  explicit Host(HostOptions options);
  ~Host();

  /// What a TAP port serves.
  EthernetFrameProtocol& ethernet();
  /// What a TUN port serves.
  IpPacketProtocol& ip();
  /// The one for a port of this kind.
  FrameProtocol& protocol(DeviceKind kind);

  /// An endpoint at this UDP port of every address; std::out_of_range unless 0 to 65535. Its
  /// `transport().write_to(to, ...)` and `reply` send at any time: on TAP, a host that was not heard of
  /// recently is asked for by ARP, and one datagram waits meanwhile.
  void add_udp(int port, DatagramProtocol& endpoint);
  void remove_udp(int port, DatagramProtocol& endpoint);

  const HostStatistics& statistics() const { return statistics_; }

 private:
  class Arp;
  class Ip;
  class Icmp;
  class Tcp;
  class Udp;
  struct Rooms;

  HostOptions options_;
  HostStatistics statistics_;
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace tunport
