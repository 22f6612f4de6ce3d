#pragma once
/// The MTU of paths that are narrower than the link, learned from ICMP (RFC 1191, RFC 8201).

#include <algorithm>
#include <chrono>

#include "tunport/base/lru_table_internal.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/wire/address.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {

/// A bounded table by the other end's address. An entry lasts ten minutes, as in Linux; a message never
/// widens a path before.
class PathMtus {
 public:
  /// The least MTU believed, in bytes: below, a forger wants many fragments. For IPv4 the value of Linux
  /// (net.ipv4.route.min_pmtu), for IPv6 that of every link.
  static constexpr std::size_t least_v4 = 552;

  /// Notes what a router tells of the path to `host`. False if nothing is new.
  bool note(const IpAddress& host, std::size_t mtu, TimePoint now) {
    mtu = std::max(mtu, host.is_v4() ? least_v4 : std::size_t{least_ipv6_mtu});
    const std::size_t before = find(host, now);
    if (before != 0 && before <= mtu) return false;
    table_.insert(host, [](const IpAddress&, const Entry&) {}) = {mtu, now + std::chrono::minutes{10}};
    return true;
  }
  /// The MTU of the path to `host`, in bytes; 0 if not known.
  std::size_t find(const IpAddress& host, TimePoint now) {
    if (table_.size() == 0) return 0;
    const Entry* const entry = table_.find(host);
    return entry != nullptr && now < entry->until ? entry->mtu : 0;
  }

 private:
  struct Entry {
    std::size_t mtu = 0;
    TimePoint until{};
  };
  LruTable<IpAddress, Entry> table_{256};
};

}  // namespace tunport
