#pragma once
/// Control messages of UDP sockets, beside a datagram (ip(7), ipv6(7), udp(7)).

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/base/bytes.hpp"
#include "tunport/port/datagram.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The control messages of a datagram to send.
class SendControl {
 public:
  /// UDP_SEGMENT: bytes of each datagram in a run.
  void add_segment_size(std::uint16_t size);
  /// IP_PKTINFO or IPV6_PKTINFO: the source address.
  void add_source(const IpAddress& from);
  /// IP_TOS or IPV6_TCLASS.
  void add_traffic_class(bool v4, int traffic_class);
  /// Puts the messages beside `message`, which borrows them.
  void put(msghdr& message);

 private:
  template <class T>
  void add(int level, int type, const T& value) {
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(bytes_.data() + used_, &header, sizeof header);
    std::memcpy(bytes_.data() + used_ + CMSG_LEN(0), &value, sizeof value);
    used_ += CMSG_SPACE(sizeof value);
  }

  static constexpr std::size_t room =
      CMSG_SPACE(sizeof(std::uint16_t)) + CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int));
  alignas(cmsghdr) std::array<std::byte, room> bytes_;
  std::size_t used_ = 0;
};

/// The control messages of a received datagram.
struct ReceivedControl {
  std::size_t segment_size = 0;          ///< bytes of each datagram in a run (UDP_GRO); 0: a single datagram
  std::optional<std::uint32_t> dropped;  ///< datagrams dropped by the socket so far (SO_RXQ_OVFL)
  std::optional<IpAddress> to;           ///< the destination in the header (IP_PKTINFO)
  bool to_group = false;                 ///< the destination is not an address of this host
  std::uint8_t traffic_class = 0;        ///< IP_TOS or IPV6_TCLASS
};
/// Parses the control messages of `message`.
ReceivedControl received_control(msghdr& message);

/// An entry of a socket's error queue (IP_RECVERR); nothing if `message` has no entry.
std::optional<DatagramError> datagram_error(msghdr& message, const sockaddr_storage& receiver);

}  // namespace tunport
