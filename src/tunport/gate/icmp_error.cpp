#include <algorithm>
#include <array>
#include <cerrno>

#include "tunport/gate/icmp_error_internal.hpp"
#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

constexpr std::uint8_t net_prohibited = 9;  // RFC 1122 3.2.2.1; RFC 1812 5.2.7.1
constexpr std::uint8_t host_prohibited = 10;
constexpr std::uint8_t prohibited = 13;

constexpr std::uint32_t least_ipv4_mtu = 68;  // RFC 791 3.1

// The quotation ends at the size that every host takes (RFC 1812 4.3.2.3; RFC 4443 2.4 (c)).
constexpr std::size_t most_v4 = std::size_t{576} - Ipv4Header::size - IcmpHeader::size;
constexpr std::size_t most_v6 = std::size_t{least_ipv6_mtu} - Ipv6Header::size - Icmpv6Header::size;

bool is_icmp_error(std::uint8_t type) {
  switch (type) {
    case icmp_type::destination_unreachable:
    case icmp_type::source_quench:
    case icmp_type::redirect:
    case icmp_type::time_exceeded:
    case icmp_type::parameter_problem:
      return true;
    default:
      return false;
  }
}

bool may_tell_v4(Bytes quoted) {
  if (quoted.size() < Ipv4Header::size || load_u8(quoted, 0) >> 4 != 4) return false;
  const Ipv4Address destination = Ipv4Address::load(quoted, 16);
  if (!is_single_host(Ipv4Address::load(quoted, 12)) || destination.is_multicast() ||
      destination.is_broadcast() || (load_be16(quoted, 6) & 0x1fff) != 0)
    return false;
  if (load_u8(quoted, 9) != ip_protocol::icmp) return true;
  const std::size_t header = (load_u8(quoted, 0) & 0xfU) * std::size_t{4};
  return quoted.size() > header && !is_icmp_error(load_u8(quoted, header));
}

bool may_tell_v6(Bytes quoted) {
  if (quoted.size() < Ipv6Header::size || load_u8(quoted, 0) >> 4 != 6) return false;
  const Ipv6Address source = Ipv6Address::load(quoted, 8);
  if (source.is_unspecified() || source.is_multicast() || Ipv6Address::load(quoted, 24).is_multicast())
    return false;
  // Extension headers are quoted before a protocol that nobody knows only.
  return load_u8(quoted, 6) != ip_protocol::icmpv6 ||
         (quoted.size() > Ipv6Header::size && load_u8(quoted, Ipv6Header::size) >= 128);
}

IcmpHeader v4_header(IcmpErrorKind kind, std::uint32_t detail) {
  constexpr std::uint8_t type = icmp_type::destination_unreachable;
  switch (kind) {
    case IcmpErrorKind::port:
      return {.type = type, .code = icmp_unreachable::port};
    case IcmpErrorKind::network:
      return {.type = type, .code = icmp_unreachable::net};
    case IcmpErrorKind::prohibited:
      return {.type = type, .code = prohibited};
    case IcmpErrorKind::protocol:
      return {.type = type, .code = icmp_unreachable::protocol};
    case IcmpErrorKind::too_big:
      return {.type = type,
              .code = icmp_unreachable::fragmentation_needed,
              .rest = std::clamp<std::uint32_t>(detail, least_ipv4_mtu, 0xffff)};
    case IcmpErrorKind::host:
      break;
  }
  return {.type = type, .code = icmp_unreachable::host};
}

/// The codes of RFC 4443 3.1.
Icmpv6Header v6_header(IcmpErrorKind kind, std::uint32_t detail) {
  constexpr std::uint8_t type = icmpv6_type::destination_unreachable;
  switch (kind) {
    case IcmpErrorKind::port:
      return {.type = type, .code = 4};
    case IcmpErrorKind::network:
      return {.type = type, .code = 0};
    case IcmpErrorKind::prohibited:
      return {.type = type, .code = 1};
    case IcmpErrorKind::protocol:
      return {.type = icmpv6_type::parameter_problem, .code = 1, .rest = detail};  // RFC 4443 3.4
    case IcmpErrorKind::too_big:
      return {.type = icmpv6_type::packet_too_big,
              .code = 0,
              .rest = std::max<std::uint32_t>(detail, least_ipv6_mtu)};
    case IcmpErrorKind::host:
      break;
  }
  return {.type = type, .code = 3};
}

}  // namespace

IcmpErrorKind icmp_error_of(int error) {
  switch (error) {
    case ECONNREFUSED:
      return IcmpErrorKind::port;
    case ENETUNREACH:
    case ENETDOWN:
      return IcmpErrorKind::network;
    case EACCES:
    case EPERM:
      return IcmpErrorKind::prohibited;
    case EMSGSIZE:
      return IcmpErrorKind::too_big;
    default:
      return IcmpErrorKind::host;
  }
}

IcmpErrorKind icmp_error_of(const DatagramError& error) {
  const bool by_v4 = error.icmp_type == icmp_type::destination_unreachable && error.reporter.is_v4();
  if (by_v4 && (error.icmp_code == net_prohibited || error.icmp_code == host_prohibited ||
                error.icmp_code == prohibited))
    return IcmpErrorKind::prohibited;
  return icmp_error_of(error.code.value());
}

bool send_icmp_error(FrameTransport& port, const IpAddress& from, const IpAddress& to, IcmpErrorKind kind,
                     Bytes quoted, std::uint32_t detail) {
  const bool v6 = to.is_v6();
  if (from.is_v6() != v6 || !(v6 ? may_tell_v6(quoted) : may_tell_v4(quoted))) return false;
  quoted = quoted.first(std::min(v6 ? most_v6 : most_v4, quoted.size()));
  std::array<std::byte, IcmpHeader::size> header;
  static_assert(IcmpHeader::size == Icmpv6Header::size);
  if (v6)
    v6_header(kind, detail).emit(header, quoted, from.v6(), to.v6());
  else
    v4_header(kind, detail).emit(header, quoted);
  const std::array<Bytes, 2> parts{header, quoted};
  return static_cast<bool>(
      send_ip({.source = from, .destination = to, .protocol = v6 ? ip_protocol::icmpv6 : ip_protocol::icmp},
              parts, 0, [&](std::span<const Bytes> out) { return port.write_sequence(out); }));
}

}  // namespace tunport
