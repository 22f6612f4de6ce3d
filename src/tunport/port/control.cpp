#include <algorithm>
#include <ctime>

#include <linux/errqueue.h>
#include <netinet/udp.h>

#include "tunport/base/error.hpp"
#include "tunport/port/control_internal.hpp"

namespace tunport {
namespace {

/// The value of a control message. Missing bytes are zero.
template <class T>
T value_of(const cmsghdr& header) {
  T value{};
  const std::size_t there = header.cmsg_len - CMSG_LEN(0);
  std::memcpy(&value, CMSG_DATA(&header), std::min(sizeof value, there));
  return value;
}

IpAddress address_of(const in_addr& address) { return Ipv4Address{network_order(address.s_addr)}; }
IpAddress address_of(const in6_addr& address) {
  return Ipv6Address::load(std::as_bytes(std::span{address.s6_addr}), 0);
}

template <class Call>
void for_each(msghdr& message, Call call) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header))
    call(*header);
}

}  // namespace

void SendControl::add_segment_size(std::uint16_t size) { add(IPPROTO_UDP, UDP_SEGMENT, size); }

void SendControl::add_source(const IpAddress& from) {
  if (from.is_v4()) {
    in_pktinfo info{};
    info.ipi_spec_dst.s_addr = network_order(from.v4().value());
    return add(IPPROTO_IP, IP_PKTINFO, info);
  }
  in6_pktinfo info{};
  std::memcpy(&info.ipi6_addr, from.v6().octets().data(), Ipv6Address::size);
  add(IPPROTO_IPV6, IPV6_PKTINFO, info);
}

void SendControl::add_traffic_class(bool v4, int traffic_class) {
  add(v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, traffic_class);
}

void SendControl::put(msghdr& message) {
  if (used_ == 0) return;
  message.msg_control = bytes_.data();
  message.msg_controllen = used_;
}

ReceivedControl received_control(msghdr& message) {
  ReceivedControl found;
  for_each(message, [&](const cmsghdr& header) {
    const auto is = [&](int level, int type) {
      return header.cmsg_level == level && header.cmsg_type == type;
    };
    if (is(IPPROTO_UDP, UDP_GRO)) {
      found.segment_size = static_cast<std::size_t>(std::max(value_of<int>(header), 0));
    } else if (is(SOL_SOCKET, SO_RXQ_OVFL)) {
      found.dropped = value_of<std::uint32_t>(header);
    } else if (is(IPPROTO_IP, IP_PKTINFO)) {
      const auto info = value_of<in_pktinfo>(header);
      found.to = address_of(info.ipi_addr);
      found.to_group = info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr;
    } else if (is(IPPROTO_IPV6, IPV6_PKTINFO)) {
      found.to = address_of(value_of<in6_pktinfo>(header).ipi6_addr);
      found.to_group = found.to->is_multicast();
    } else if (is(IPPROTO_IP, IP_TOS)) {
      found.traffic_class = value_of<std::uint8_t>(header);
    } else if (is(IPPROTO_IPV6, IPV6_TCLASS)) {
      found.traffic_class = static_cast<std::uint8_t>(value_of<int>(header));
    }
  });
  return found;
}

std::optional<DatagramError> datagram_error(msghdr& message, const sockaddr_storage& receiver) {
  std::optional<DatagramError> found;
  for_each(message, [&](const cmsghdr& header) {
    const bool v4 = header.cmsg_level == IPPROTO_IP && header.cmsg_type == IP_RECVERR;
    if (!v4 && !(header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_RECVERR)) return;
    struct Entry {
      sock_extended_err error;
      sockaddr_in6 offender;
    };
    const auto entry = value_of<Entry>(header);
    DatagramError& error = found.emplace();
    error.to = Endpoint::from_sockaddr(receiver).value_or(Endpoint{});
    error.code = errno_code(static_cast<int>(entry.error.ee_errno));
    if (entry.error.ee_origin == SO_EE_ORIGIN_ICMP || entry.error.ee_origin == SO_EE_ORIGIN_ICMP6) {
      error.icmp_type = entry.error.ee_type;
      error.icmp_code = entry.error.ee_code;
      sockaddr_storage offender{};
      std::memcpy(&offender, &entry.offender, sizeof entry.offender);
      if (const auto from = Endpoint::from_sockaddr(offender)) error.reporter = from->address;
    }
    if (entry.error.ee_errno == EMSGSIZE) error.mtu = entry.error.ee_info;
  });
  return found;
}

}  // namespace tunport
