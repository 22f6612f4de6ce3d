#pragma once
/// A small DHCP server of a host (RFC 2131): one subnet, one table of leases.

#include <cstdint>
#include <map>

#include "tunport/event/reactor.hpp"
#include "tunport/host/host_state_internal.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/wire/dhcp_internal.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {

/// Theory. A lease is an address for a MAC address, for an hour; an offer is kept for a minute. A client gets
/// the address of its last lease again, else the address it asks for, else a free one. The table is bounded;
/// without room, nothing is offered. An address that a client has found in use (DHCPDECLINE) is left alone
/// for an hour.
class DhcpService {
 public:
  explicit DhcpService(HostState& state) : state_{state} {}

  /// True for a datagram to the server: to its port, by broadcast or to the host.
  bool is_asked(const IpDatagram& datagram) const;
  /// Answers a message, or counts it as dropped.
  void received(const IpDatagram& datagram, const UdpView& udp);

 private:
  struct Lease {
    Ipv4Address address;
    TimePoint until;
  };

  Ipv4Address server() const;
  bool may_lease(Ipv4Address address) const;
  /// The lease of a station, made anew if needed; null without an address.
  Lease* lease_for(const dhcp::Request& request, TimePoint now);
  bool is_free(Ipv4Address address, TimePoint now) const;
  bool send(const IpDatagram& datagram, const dhcp::Request& request, dhcp::Answer answer);

  HostState& state_;
  std::map<std::uint64_t, Lease> leases_;        // by MAC address
  std::map<std::uint32_t, TimePoint> declined_;  // addresses, until when
};

}  // namespace tunport
