#include "tunport/base/drop_reason.hpp"

#include <numeric>
#include <ostream>

namespace tunport {

std::string_view to_string(DropReason reason) {
  switch (reason) {
    case DropReason::truncated:
      return "truncated";
    case DropReason::receive_overflow:
      return "receive_overflow";
    case DropReason::bad_framing:
      return "bad_framing";
    case DropReason::bad_offload:
      return "bad_offload";
    case DropReason::ethernet_short:
      return "ethernet_short";
    case DropReason::ethernet_wrong_mac:
      return "ethernet_wrong_mac";
    case DropReason::vlan_tagged:
      return "vlan_tagged";
    case DropReason::unknown_ethertype:
      return "unknown_ethertype";
    case DropReason::arp_malformed:
      return "arp_malformed";
    case DropReason::arp_not_for_us:
      return "arp_not_for_us";
    case DropReason::ip_short:
      return "ip_short";
    case DropReason::ip_bad_version:
      return "ip_bad_version";
    case DropReason::ip_bad_header_length:
      return "ip_bad_header_length";
    case DropReason::ip_bad_total_length:
      return "ip_bad_total_length";
    case DropReason::ip_bad_checksum:
      return "ip_bad_checksum";
    case DropReason::ip_fragment:
      return "ip_fragment";
    case DropReason::ip_wrong_address:
      return "ip_wrong_address";
    case DropReason::ip_bad_source:
      return "ip_bad_source";
    case DropReason::unknown_ip_protocol:
      return "unknown_ip_protocol";
    case DropReason::icmp_short:
      return "icmp_short";
    case DropReason::icmp_bad_checksum:
      return "icmp_bad_checksum";
    case DropReason::icmp_unhandled:
      return "icmp_unhandled";
    case DropReason::udp_short:
      return "udp_short";
    case DropReason::udp_bad_length:
      return "udp_bad_length";
    case DropReason::udp_bad_checksum:
      return "udp_bad_checksum";
    case DropReason::unknown_udp_port:
      return "unknown_udp_port";
    case DropReason::answer_not_allowed:
      return "answer_not_allowed";
    case DropReason::rate_limited:
      return "rate_limited";
    case DropReason::empty:
      return "empty";
    case DropReason::too_short:
      return "too_short";
    case DropReason::too_long:
      return "too_long";
    case DropReason::wrong_version:
      return "wrong_version";
    case DropReason::no_route:
      return "no_route";
    case DropReason::link_down:
      return "link_down";
    case DropReason::queue_full:
      return "queue_full";
    case DropReason::no_buffers:
      return "no_buffers";
    case DropReason::kernel_refused:
      return "kernel_refused";
    case DropReason::device_gone:
      return "device_gone";
    case DropReason::not_listening:
      return "not_listening";
    case DropReason::aborted:
      return "aborted";
  }
  return "unknown";
}

std::uint64_t DropCounts::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::string to_string(const DropCounts& counts) {
  std::string text;
  counts.for_each([&](DropReason reason, std::uint64_t count) {
    if (!text.empty()) text += ", ";
    text.append(to_string(reason)).append(" ").append(std::to_string(count));
  });
  return text.empty() ? "none" : text;
}

std::ostream& operator<<(std::ostream& out, const DropCounts& counts) { return out << to_string(counts); }

}  // namespace tunport
