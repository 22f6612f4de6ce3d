#pragma once
/// ICMP and ICMPv6 errors that a relay passes back to its clients (RFC 792; RFC 4443 3).

#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/port/datagram.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// What an error says.
enum class IcmpErrorKind : std::uint8_t {
  port,        ///< port unreachable: ECONNREFUSED
  host,        ///< host unreachable: EHOSTUNREACH
  network,     ///< net unreachable; no route (IPv6): ENETUNREACH
  prohibited,  ///< administratively prohibited: EHOSTUNREACH (IPv6: EACCES)
  protocol,    ///< protocol unreachable; unrecognized next header (IPv6): ENOPROTOOPT, EPROTO
  too_big,     ///< fragmentation needed; packet too big (IPv6): EMSGSIZE
};

/// The kind that tells the client of a failed socket call's errno.
IcmpErrorKind icmp_error_of(int error);
/// The kind that tells the client of an entry of a socket's error queue.
IcmpErrorKind icmp_error_of(const DatagramError& error);

/// Sends an error to a client, `to`, through `port`, a TUN. `from` is the error's source, `quoted` the IP
/// packet that failed, as much as is known. `detail`: the MTU for `too_big`, in bytes; for `protocol` over
/// IPv6 the place of the next header's number in the packet. False: the port refused, or no error may be sent
/// (RFC 1122 3.2.2; RFC 4443 2.4 (e)): about an ICMP error, about a fragment other than the first, about a
/// packet to or from a group or 255.255.255.255, or from no single host.
bool send_icmp_error(FrameTransport& port, const IpAddress& from, const IpAddress& to, IcmpErrorKind kind,
                     Bytes quoted, std::uint32_t detail = 0);

}  // namespace tunport
