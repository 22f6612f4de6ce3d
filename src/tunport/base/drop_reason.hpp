#pragma once
/// The one list of reasons for which a packet goes no further. Every room counts with these; nothing is
/// dropped without one.

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// Why a packet was dropped, or why a write was refused. The names are those of the summaries and of JSON.
enum class DropReason : std::uint8_t {
  // On the way in, in the order in which a packet meets its checks.
  truncated,             ///< longer than the reader's buffer: the rest was lost in the kernel
  receive_overflow,      ///< the socket's receive buffer was full: the port read too late
  bad_framing,           ///< shorter than the packet information that precedes it
  bad_offload,           ///< a virtio header that does not fit its packet
  ethernet_short,        ///< no whole Ethernet header, or a VLAN tag cut off
  ethernet_wrong_mac,    ///< for another station
  vlan_tagged,           ///< carries a VLAN tag that nobody here serves
  unknown_ethertype,     ///< no protocol for this EtherType
  arp_malformed,         ///< not a whole ARP packet for IPv4 over Ethernet
  arp_not_for_us,        ///< asks for an address that is not ours, or asks nothing
  ip_short,              ///< no whole IP header
  ip_bad_version,        ///< the version is not the one that this protocol serves
  ip_bad_header_length,  ///< IHL below 5, or beyond the packet
  ip_bad_total_length,   ///< total length below the header's, or beyond the packet
  ip_bad_checksum,       ///< header checksum wrong
  ip_fragment,           ///< a fragment: not reassembled yet
  ip_wrong_address,      ///< for another host
  ip_bad_source,         ///< a source that no single host can have
  ip_source_route,       ///< a source route with stations left: the datagram is on its way to another
  unknown_ip_protocol,   ///< no protocol for this IP protocol number
  icmp_short,            ///< no whole ICMP header
  icmp_bad_checksum,     ///< ICMP checksum wrong
  icmp_unhandled,        ///< an ICMP message that asks for no answer of ours
  udp_short,             ///< no whole UDP header
  udp_bad_length,        ///< length below the header's, or beyond the packet
  udp_bad_checksum,      ///< UDP checksum wrong
  unknown_udp_port,      ///< no endpoint at this UDP port
  tcp_short,             ///< no whole TCP header
  tcp_bad_checksum,      ///< TCP checksum wrong
  unknown_tcp_port,      ///< no endpoint at this TCP port
  answer_not_allowed,    ///< no answer is due (RFC 1122 3.2.2; to a TCP reset), so none was made
  rate_limited,          ///< an answer too many within the second
  // On the way out.
  empty,          ///< a write of no bytes
  too_short,      ///< shorter than the link's header
  too_long,       ///< longer than the port's largest packet
  wrong_version,  ///< on TUN: the first nibble says neither IPv4 nor IPv6
  no_route,       ///< nobody knows the way to this address
  link_down,      ///< the interface is down; passes by itself when it is up again
  queue_full,     ///< the write queue has reached its bound
  no_buffers,  ///< the kernel had no memory for it (ENOBUFS, ENOMEM; EAGAIN where it is not queued); passes
  kernel_refused,  ///< the kernel said EINVAL, or another error that will not pass for this packet
  device_gone,     ///< the device was deleted
  not_listening,  ///< the port is not listening, its writing side is closed, or nobody has asked for a packet
  aborted,        ///< was queued when the port was stopped
};

/// How many reasons there are.
inline constexpr std::size_t drop_reason_count = static_cast<std::size_t>(DropReason::aborted) + 1;

/// The reason's name, as the summaries and JSON have it: "link_down".
std::string_view to_string(DropReason reason);
/// The reason in words of at most 62 characters, for a person: "the interface is down".
std::string_view explanation_of(DropReason reason);

/// A counter for each reason. Counting allocates nothing.
class DropCounts {
 public:
  /// Counts `n` packets as dropped for `reason`.
  void add(DropReason reason, std::uint64_t n = 1) { counts_[static_cast<std::size_t>(reason)] += n; }
  /// Packets dropped for `reason`.
  std::uint64_t operator[](DropReason reason) const { return counts_[static_cast<std::size_t>(reason)]; }
  /// Packets dropped for any reason.
  std::uint64_t total() const;
  /// Calls `visit(reason, count)` for every reason that has occurred, in the order of the list.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (counts_[i] != 0) visit(static_cast<DropReason>(i), counts_[i]);
  }

 private:
  std::array<std::uint64_t, drop_reason_count> counts_{};
};
/// The reasons that have occurred, with their counts: "empty 1, link_down 2"; without a drop "none".
std::string to_string(const DropCounts& counts);
std::ostream& operator<<(std::ostream& out, const DropCounts& counts);

}  // namespace tunport
