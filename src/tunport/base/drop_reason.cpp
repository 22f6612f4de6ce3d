#include "tunport/base/drop_reason.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <numeric>
#include <ostream>
#include <stdexcept>
#include <string>

namespace tunport {

namespace {

struct Text {
  std::string_view name;
  std::string_view explanation;
};

Text text_of(DropReason reason) {
  switch (reason) {
    case DropReason::truncated:
      return {"truncated", "longer than the reader's buffer: the rest was lost"};
    case DropReason::receive_overflow:
      return {"receive_overflow", "the receive buffer of the socket was full"};
    case DropReason::bad_framing:
      return {"bad_framing", "shorter than the packet information in front of each packet"};
    case DropReason::bad_offload:
      return {"bad_offload", "a virtio header that does not fit its packet"};
    case DropReason::ethernet_short:
      return {"ethernet_short", "no whole Ethernet header, or a VLAN tag cut off"};
    case DropReason::ethernet_wrong_mac:
      return {"ethernet_wrong_mac", "a frame for another station"};
    case DropReason::vlan_tagged:
      return {"vlan_tagged", "a VLAN that is not served here"};
    case DropReason::unknown_ethertype:
      return {"unknown_ethertype", "an EtherType without a protocol here, such as IPv6"};
    case DropReason::arp_malformed:
      return {"arp_malformed", "not a whole ARP packet for IPv4 over Ethernet"};
    case DropReason::arp_not_for_us:
      return {"arp_not_for_us", "ARP that asks for another address, or asks nothing"};
    case DropReason::ip_short:
      return {"ip_short", "no whole IP header"};
    case DropReason::ip_bad_version:
      return {"ip_bad_version", "a version of IP that is not served here"};
    case DropReason::ip_bad_header_length:
      return {"ip_bad_header_length", "an IP header length below 20, or beyond the packet"};
    case DropReason::ip_bad_total_length:
      return {"ip_bad_total_length", "a total length below the header's, or beyond the packet"};
    case DropReason::ip_bad_checksum:
      return {"ip_bad_checksum", "a wrong IP header checksum"};
    case DropReason::ip_fragment:
      return {"ip_fragment", "a fragment whose datagram did not become whole in time"};
    case DropReason::ip_bad_fragment:
      return {"ip_bad_fragment", "a fragment that overlaps another, or of a wrong size"};
    case DropReason::ip_wrong_address:
      return {"ip_wrong_address", "a datagram for another host"};
    case DropReason::ip_bad_source:
      return {"ip_bad_source", "a source address that no single host can have"};
    case DropReason::ip_bad_option:
      return {"ip_bad_option", "an IPv6 option that is broken or not understood"};
    case DropReason::ip_source_route:
      return {"ip_source_route", "a source route with stations left: for another host"};
    case DropReason::unknown_ip_protocol:
      return {"unknown_ip_protocol", "an IP protocol that is not served here"};
    case DropReason::icmp_short:
      return {"icmp_short", "no whole ICMP header"};
    case DropReason::icmp_bad_checksum:
      return {"icmp_bad_checksum", "a wrong ICMP checksum"};
    case DropReason::icmp_unhandled:
      return {"icmp_unhandled", "an ICMP message that asks for no answer"};
    case DropReason::udp_short:
      return {"udp_short", "no whole UDP header"};
    case DropReason::udp_bad_length:
      return {"udp_bad_length", "a UDP length below the header's, or beyond the packet"};
    case DropReason::udp_bad_checksum:
      return {"udp_bad_checksum", "a wrong UDP checksum"};
    case DropReason::unknown_udp_port:
      return {"unknown_udp_port", "no endpoint at this UDP port"};
    case DropReason::tcp_short:
      return {"tcp_short", "no whole TCP header"};
    case DropReason::tcp_bad_checksum:
      return {"tcp_bad_checksum", "a wrong TCP checksum"};
    case DropReason::unknown_tcp_port:
      return {"unknown_tcp_port", "no endpoint at this TCP port"};
    case DropReason::unknown_tcp_flow:
      return {"unknown_tcp_flow", "a TCP segment of no connection through the gate"};
    case DropReason::request_pending:
      return {"request_pending", "a SYN again, while the program decides about the first"};
    case DropReason::too_many_flows:
      return {"too_many_flows", "more connections than the gate may have"};
    case DropReason::dhcp_malformed:
      return {"dhcp_malformed", "not a DHCP message of a client on the link"};
    case DropReason::answer_not_allowed:
      return {"answer_not_allowed", "no answer is due: a broadcast, an echo service, a TCP reset"};
    case DropReason::rate_limited:
      return {"rate_limited", "an answer too many within the second"};
    case DropReason::empty:
      return {"empty", "a write of no bytes"};
    case DropReason::too_short:
      return {"too_short", "a write shorter than the link's header"};
    case DropReason::too_long:
      return {"too_long", "a write longer than the port's largest packet"};
    case DropReason::wrong_version:
      return {"wrong_version", "a write on a TUN of neither IPv4 nor IPv6"};
    case DropReason::no_route:
      return {"no_route", "a write to an address with no known way"};
    case DropReason::link_down:
      return {"link_down", "the interface was down ('ip link set NAME up')"};
    case DropReason::queue_full:
      return {"queue_full", "the write queue had reached its bound"};
    case DropReason::no_buffers:
      return {"no_buffers", "the kernel had no memory for the packet"};
    case DropReason::kernel_refused:
      return {"kernel_refused", "the kernel refused the packet, for good"};
    case DropReason::device_gone:
      return {"device_gone", "the device was deleted"};
    case DropReason::not_listening:
      return {"not_listening", "the port was not listening, or no call waited for a packet"};
    case DropReason::aborted:
      return {"aborted", "queued, or partly delivered, when the port was stopped"};
  }
  return {"unknown", "unknown"};
}

/// The reasons that the program added. An entry does not change after `count` has passed it.
struct OwnReasons {
  struct Entry {
    std::string name;
    std::string explanation;
  };
  std::mutex adding;
  std::array<Entry, max_own_drop_reasons> entries;
  std::atomic<std::size_t> count = 0;
};
OwnReasons& own_reasons() {
  static OwnReasons reasons;
  return reasons;
}

Text own_text_of(DropReason reason) {
  const OwnReasons& own = own_reasons();
  const std::size_t at = static_cast<std::size_t>(reason) - drop_reason_count;
  if (at >= own.count) return {"unknown", "unknown"};
  return {own.entries[at].name, own.entries[at].explanation};
}

bool is_own(DropReason reason) { return static_cast<std::size_t>(reason) >= drop_reason_count; }

bool is_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

DropReason register_drop_reason(std::string_view name, std::string_view explanation) {
  const std::string quoted = "drop reason '" + std::string{name} + '\'';
  if (!is_name(name)) throw std::invalid_argument(quoted + ": a name is of a-z, 0-9 and _");
  for (std::size_t i = 0; i < drop_reason_count; ++i)
    if (to_string(static_cast<DropReason>(i)) == name)
      throw std::invalid_argument(quoted + " is one of the library's");
  OwnReasons& own = own_reasons();
  const std::lock_guard lock{own.adding};
  std::size_t at = 0;
  while (at < own.count && own.entries[at].name != name) ++at;
  if (at == own.entries.size()) throw std::length_error(quoted + ": there are 16 already");
  if (at == own.count) {
    own.entries[at] = {std::string{name}, std::string{explanation}};
    ++own.count;
  }
  return static_cast<DropReason>(drop_reason_count + at);
}

std::string_view to_string(DropReason reason) {
  return is_own(reason) ? own_text_of(reason).name : text_of(reason).name;
}
std::string_view explanation_of(DropReason reason) {
  return is_own(reason) ? own_text_of(reason).explanation : text_of(reason).explanation;
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
