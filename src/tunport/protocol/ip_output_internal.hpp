#pragma once
/// IP datagrams on their way out: a header, and fragments where the link asks for them.

#include <cstdint>
#include <span>

#include "tunport/base/function_ref.hpp"
#include "tunport/port/write_result.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The most parts of a datagram: the link's header takes two, the IP header one.
inline constexpr std::size_t max_ip_parts = IpDatagram::max_parts;

/// The header of a datagram for writing. Both addresses are of the same family.
struct IpOutput {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  AnswerFields fields{};
};

/// Sends a datagram by `write`, which gets the parts of an IP packet: whole, or in fragments if the packet is
/// longer than `mtu` bytes (RFC 791 3.2; RFC 8200 4.5). 0 means no limit. The first refusal ends the
/// datagram. A whole IPv4 datagram has DF set, and an identification without a meaning (RFC 6864 4.1).
/// Refused beyond `longest_ip_payload`: `too_long`, not counted.
WriteResult send_ip(const IpOutput& output, std::span<const Bytes> payload, std::size_t mtu,
                    FunctionRef<WriteResult(std::span<const Bytes>)> write);

}  // namespace tunport
