#pragma once
/// What the parts of a host share: the settings, the addresses with their state, and the counters.

#include <vector>

#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/host/host.hpp"
#include "tunport/protocol/path_mtu_internal.hpp"

namespace tunport {

/// Theory. An address of a host is listed, or one of `HostOptions::prefixes`. A listed IPv6 address on a TAP
/// is probed before use (RFC 4862 5.4); another holder of the address makes the address a duplicate, and the
/// host does without. An address of a prefix has no state, and is never probed for.
struct HostState {
  explicit HostState(HostOptions given);

  /// The state of a listed IPv6 address.
  enum class Use : std::uint8_t { tentative, probing, usable, duplicate };
  struct Listed {
    Ipv6Address address;
    Use use = Use::tentative;
  };

  /// Makes the MAC address, and the link-local address with it, anew.
  void settle_mac(const LinkInfo& interface);
  /// The listed IPv6 address; null if not listed.
  Listed* find_listed(const Ipv6Address& address);
  /// True for a listed address that is in use.
  bool is_listed(const IpAddress& address) const;
  /// True for an address of the host.
  bool owns(const IpAddress& address) const;
  /// True for an address that may be a source (RFC 1122 3.2.1.3; RFC 4291 2.7).
  bool is_source(const IpAddress& address) const;
  /// True for an address on the link.
  bool is_on_link(const IpAddress& address) const;
  /// The host's sources, for its own datagrams.
  std::vector<IpAddress> sources() const;
  /// True unless a listed IPv6 address waits for its probe, or for the probe's end.
  bool is_settled() const;
  /// True with IPv6 addresses, prefixes, or an advertised prefix.
  bool has_v6() const;

  HostOptions options;
  MacAddress mac;
  std::vector<Listed> listed;  // the IPv6 addresses, the link-local one first
  HostStatistics statistics;
  TokenBucket errors;  // ICMP errors of both versions
  PathMtus path_mtus;
};

}  // namespace tunport
