#pragma once
/// The reasons for drops of packets. Every room counts drops by these reasons; no packet is dropped without a
/// reason.

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// The reason for the drop of a packet, or for the refusal of a write. Summaries and JSON use the names.
enum class DropReason : std::uint8_t {
  // On the way in, in the order of the checks.
  truncated,             ///< longer than the reader's buffer: the rest was lost in the kernel
  receive_overflow,      ///< the socket's receive buffer was full: the port read too late
  bad_framing,           ///< shorter than the packet information before the packet
  bad_offload,           ///< a virtio header that does not fit its packet
  ethernet_short,        ///< no whole Ethernet header, or a VLAN tag cut off
  ethernet_wrong_mac,    ///< for another station
  vlan_tagged,           ///< a VLAN that is not served here
  unknown_ethertype,     ///< no protocol for this EtherType
  arp_malformed,         ///< not a whole ARP packet for IPv4 over Ethernet
  arp_not_for_us,        ///< asks for another address, or asks nothing
  ip_short,              ///< no whole IP header
  ip_bad_version,        ///< a version of IP that the protocol does not serve
  ip_bad_header_length,  ///< IHL below 5, or beyond the packet
  ip_bad_total_length,   ///< total length below the header's, or beyond the packet
  ip_bad_checksum,       ///< header checksum wrong
  ip_fragment,       ///< a fragment of a datagram that did not become whole in time, or in the memory allowed
  ip_bad_fragment,   ///< a fragment that overlaps another, or of a wrong size (RFC 5722, RFC 8200 4.5)
  ip_wrong_address,  ///< for another host
  ip_bad_source,     ///< a source that no single host can have
  ip_bad_option,     ///< an IPv6 option that is cut off, or that the receiver must understand
  ip_source_route,   ///< a source route with stations left: the datagram is for another host
  unknown_ip_protocol,  ///< no protocol for this IP protocol number
  icmp_short,           ///< no whole ICMP header
  icmp_bad_checksum,    ///< ICMP checksum wrong
  icmp_unhandled,       ///< an ICMP message that asks for no answer
  udp_short,            ///< no whole UDP header
  udp_bad_length,       ///< length below the header's, or beyond the packet
  udp_bad_checksum,     ///< UDP checksum wrong
  unknown_udp_port,     ///< no endpoint at this UDP port
  tcp_short,            ///< no whole TCP header
  tcp_bad_checksum,     ///< TCP checksum wrong
  unknown_tcp_port,     ///< no endpoint at this TCP port
  unknown_tcp_flow,     ///< a TCP segment of no connection through the gate
  request_pending,      ///< a SYN that came again while the program decides about the first
  too_many_flows,       ///< more connections than the gate may have
  dhcp_malformed,       ///< not a DHCP message of a client on the link
  answer_not_allowed,   ///< no answer is due (RFC 1122 3.2.2; to a TCP reset), and no answer was made
  rate_limited,         ///< an answer too many within the second
  // On the way out.
  empty,           ///< a write of no bytes
  too_short,       ///< shorter than the link's header
  too_long,        ///< longer than the port's largest packet
  wrong_version,   ///< on TUN: the first nibble is neither 4 nor 6
  no_route,        ///< the way to the address is unknown
  link_down,       ///< the interface is down; transient, until the interface is up again
  queue_full,      ///< the write queue has reached its bound
  no_buffers,      ///< the kernel had no memory (ENOBUFS, ENOMEM; EAGAIN without a queue); transient
  kernel_refused,  ///< the kernel answered EINVAL, or another lasting error for the packet
  device_gone,     ///< the device was deleted
  not_listening,   ///< the port is not listening, its writing side is closed, or no receive is outstanding
  aborted,         ///< was queued, or delivered in part, when the port was stopped
};

/// The number of reasons.
inline constexpr std::size_t drop_reason_count = static_cast<std::size_t>(DropReason::aborted) + 1;

/// The largest number of reasons that programs add.
inline constexpr std::size_t max_own_drop_reasons = 16;
/// Adds a reason of the program's own, for drops by its protocols: `name` and `explanation` as `to_string`
/// and `explanation_of` give them. The same name gives the same reason again. Lasts as long as the program;
/// callable from any thread. Throws std::invalid_argument unless `name` is of a-z, 0-9 and '_', and not one
/// of the library's; std::length_error beyond `max_own_drop_reasons`.
DropReason register_drop_reason(std::string_view name, std::string_view explanation);

/// The name of the reason, as in summaries and JSON: "link_down".
std::string_view to_string(DropReason reason);
/// The reason in words for a person, at most 62 characters: "a wrong UDP checksum".
std::string_view explanation_of(DropReason reason);

/// A counter of datagrams for each reason. Counting allocates nothing.
class DropCounts {
 public:
  /// Counts `n` datagrams as dropped for `reason`.
  void add(DropReason reason, std::uint64_t n = 1) { counts_[index(reason)] += n; }
  /// The datagrams dropped for `reason`.
  std::uint64_t operator[](DropReason reason) const { return counts_[index(reason)]; }
  /// The datagrams dropped for all reasons.
  std::uint64_t total() const;
  /// Calls `visit(reason, count)` for every reason with a count above 0, in the order of the list.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (counts_[i] != 0) visit(static_cast<DropReason>(i), counts_[i]);
  }

 private:
  static constexpr std::size_t most = drop_reason_count + max_own_drop_reasons;
  /// The place of a reason. A value of no reason counts as the last.
  static constexpr std::size_t index(DropReason reason) {
    const auto value = static_cast<std::size_t>(reason);
    return value < most ? value : most - 1;
  }

  std::array<std::uint64_t, most> counts_{};
};
/// The counts above 0: "empty 1, link_down 2"; "none" without a drop.
std::string to_string(const DropCounts& counts);
/// Prints the text form.
std::ostream& operator<<(std::ostream& out, const DropCounts& counts);

}  // namespace tunport
