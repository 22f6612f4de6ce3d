#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include "tunport/testing/memory_control_internal.hpp"

namespace tunport {
namespace {

IpAddress unmapped(const IpAddress& address) {
  if (address.is_v4()) return address;
  const auto& octets = address.v6().octets();
  const bool is_mapped = std::all_of(octets.begin(), octets.begin() + 10, [](auto o) { return o == 0; }) &&
                         octets[10] == 0xff && octets[11] == 0xff;
  if (!is_mapped) return address;
  return Ipv4Address::load(std::as_bytes(std::span{octets}), 12);
}

IpAddress to_address(const in6_addr& address) {
  return Ipv6Address::load(std::as_bytes(std::span{address.s6_addr}), 0);
}
in_addr to_in_addr(const IpAddress& address) { return {network_order(address.v4().value())}; }
in6_addr to_in6_addr(const IpAddress& address) {
  in6_addr out{};
  std::memcpy(&out, address.v6().octets().data(), sizeof out);
  return out;
}

/// Writes control messages in a row, as far as the room suffices.
class Writer {
 public:
  explicit Writer(msghdr& message)
      : message_{message}, room_{message.msg_control != nullptr ? message.msg_controllen : 0} {}
  ~Writer() { message_.msg_controllen = used_; }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  template <class T>
  void add(int level, int type, const T& value) {
    if (used_ + CMSG_SPACE(sizeof value) > room_) return;
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(sizeof value);
    auto* const at = static_cast<std::byte*>(message_.msg_control) + used_;
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
    used_ += CMSG_SPACE(sizeof value);
  }

 private:
  msghdr& message_;
  std::size_t room_;
  std::size_t used_ = 0;
};

template <class T>
T value_of(const cmsghdr* header) {
  T value{};
  std::memcpy(&value, CMSG_DATA(header), std::min(sizeof value, header->cmsg_len - CMSG_LEN(0)));
  return value;
}

}  // namespace

IpAddress mapped(const IpAddress& address) {
  if (address.is_v6()) return address;
  std::array<std::byte, 16> bytes{};
  bytes[10] = bytes[11] = std::byte{0xff};
  address.v4().store(bytes, 12);
  return Ipv6Address::load(bytes, 0);
}

int read_address(int domain, const void* address, socklen_t length, Endpoint& endpoint) {
  if (address == nullptr) return -EDESTADDRREQ;
  if (length < (domain == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6))) return -EINVAL;
  sockaddr_storage storage{};
  std::memcpy(&storage, address, std::min<std::size_t>(length, sizeof storage));
  if (storage.ss_family != domain) return -EAFNOSUPPORT;
  endpoint = *Endpoint::from_sockaddr(storage);
  endpoint.address = unmapped(endpoint.address);
  return 0;
}

socklen_t write_address(int domain, Endpoint endpoint, void* address, socklen_t room) {
  if (domain == AF_INET6) endpoint.address = mapped(endpoint.address);
  sockaddr_storage storage{};
  const socklen_t length = endpoint.to_sockaddr(storage);
  std::memcpy(address, &storage, std::min(room, length));
  return length;
}

MemorySendControl read_control(const msghdr& message) {
  MemorySendControl found;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    const auto is = [&](int level, int type) {
      return header->cmsg_level == level && header->cmsg_type == type;
    };
    if (is(IPPROTO_UDP, UDP_SEGMENT))
      found.segment_size = value_of<std::uint16_t>(header);
    else if (is(IPPROTO_IP, IP_PKTINFO))
      found.from = Ipv4Address{network_order(value_of<in_pktinfo>(header).ipi_spec_dst.s_addr)};
    else if (is(IPPROTO_IPV6, IPV6_PKTINFO))
      found.from = unmapped(to_address(value_of<in6_pktinfo>(header).ipi6_addr));
    else if (is(IPPROTO_IP, IP_TOS) || is(IPPROTO_IPV6, IPV6_TCLASS))
      found.traffic_class = value_of<int>(header);
  }
  if (found.from.is_unspecified()) found.from = {};
  return found;
}

void write_control(msghdr& message, const MemoryDatagram& datagram, const MemoryControlOptions& options) {
  Writer out{message};
  if (options.overflow && datagram.dropped != 0) out.add(SOL_SOCKET, SO_RXQ_OVFL, datagram.dropped);
  if (datagram.segment_size != 0) out.add(IPPROTO_UDP, UDP_GRO, int{datagram.segment_size});
  if (options.packet_info && options.v4) {
    in_pktinfo info{};
    info.ipi_spec_dst = to_in_addr(datagram.local);
    info.ipi_addr = to_in_addr(datagram.to.address);
    out.add(IPPROTO_IP, IP_PKTINFO, info);
  } else if (options.packet_info) {
    in6_pktinfo info{};
    info.ipi6_addr = to_in6_addr(mapped(datagram.to.address));
    out.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if (options.traffic_class && options.v4) out.add(IPPROTO_IP, IP_TOS, datagram.traffic_class);
  if (options.traffic_class && !options.v4) out.add(IPPROTO_IPV6, IPV6_TCLASS, int{datagram.traffic_class});
}

void write_refused(msghdr& message, bool v4, const IpAddress& reporter) {
  Writer out{message};
  sock_extended_err error{};
  error.ee_errno = ECONNREFUSED;
  error.ee_origin = v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
  error.ee_type = v4 ? 3 : 1;  // destination unreachable
  error.ee_code = v4 ? 3 : 4;  // port
  const auto add = [&]<class Address>(int level, int type, const Address& offender) {
    struct {
      sock_extended_err error;
      Address offender;
    } const entry{error, offender};
    out.add(level, type, entry);
  };
  sockaddr_storage storage{};
  Endpoint{reporter, 0}.to_sockaddr(storage);
  if (v4) {
    sockaddr_in offender{};
    std::memcpy(&offender, &storage, sizeof offender);
    add(IPPROTO_IP, IP_RECVERR, offender);
  } else {
    sockaddr_in6 offender{};
    std::memcpy(&offender, &storage, sizeof offender);
    add(IPPROTO_IPV6, IPV6_RECVERR, offender);
  }
}

}  // namespace tunport
