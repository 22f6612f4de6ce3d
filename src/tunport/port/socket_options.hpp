#pragma once
/// The options of the socket of a UDP port (socket(7), ip(7), ipv6(7), udp(7)).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "tunport/wire/address.hpp"

namespace tunport {

/// The treatment of datagrams longer than the path's MTU (IP_MTU_DISCOVER, IPV6_MTU_DISCOVER).
enum class PathMtu : std::uint8_t {
  system,         ///< the system's setting: as a rule, datagrams are fragmented to the known path MTU
  fragment,       ///< datagrams are fragmented, also on the way (DF is not set)
  dont_fragment,  ///< DF is set; a datagram beyond the known path MTU is refused as `too_long`
  probe,          ///< DF is set, and the known path MTU is ignored: for probing (RFC 8899)
};

/// The options of a UDP port's socket, set at the start of the port. A refused option makes the start fail,
/// with the option's name in the error; trying again does not help after EINVAL, ENODEV and EPERM.
struct SocketOptions {
  /// The kernel's receive buffer, in bytes: a burst of datagrams must fit. A size beyond the system's bound
  /// (net.core.rmem_max) needs CAP_NET_ADMIN; without the capability the kernel gives the bound. 0: the
  /// system's default, 208 KiB.
  std::size_t receive_buffer = std::size_t{4} << 20;
  /// The kernel's send buffer, in bytes, likewise (net.core.wmem_max).
  std::size_t send_buffer = std::size_t{4} << 20;

  /// Connected mode: the port receives from the peer only, and `UdpPort::write` sends to the peer. The kernel
  /// chooses an unspecified local address. A datagram to the peer costs no search for a route.
  std::optional<Endpoint> peer = {};
  /// Datagrams to broadcast addresses are allowed (SO_BROADCAST); refused with EACCES otherwise.
  bool broadcast = false;
  /// Several sockets may share the address; the kernel spreads flows over them (SO_REUSEPORT).
  bool reuse_port = false;
  /// The name of the only interface for datagrams, both ways (SO_BINDTODEVICE); empty: every interface.
  std::string device = {};
  /// The mark of sent packets, for routing and firewalls (SO_MARK). Needs CAP_NET_ADMIN.
  std::optional<std::uint32_t> mark = {};

  /// DSCP and ECN of sent datagrams (IP_TOS, IPV6_TCLASS).
  std::optional<std::uint8_t> traffic_class = {};
  /// Fills `Datagram::traffic_class` (IP_RECVTOS, IPV6_RECVTCLASS).
  bool receive_traffic_class = false;
  /// Hop limit of sent datagrams, 1 to 255 (IP_TTL, IPV6_UNICAST_HOPS).
  std::optional<std::uint8_t> hop_limit = {};
  /// The treatment of long datagrams.
  PathMtu path_mtu = PathMtu::system;

  /// Hop limit of multicast datagrams, 0 to 255 (IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS); system default: 1.
  std::optional<std::uint8_t> multicast_hop_limit = {};
  /// Multicast datagrams reach members on this host, too (IP_MULTICAST_LOOP); system default: true.
  std::optional<bool> multicast_loop = {};
  /// The name of the interface for sent multicast datagrams (IP_MULTICAST_IF); empty: by the routes.
  std::string multicast_device = {};
};

}  // namespace tunport
