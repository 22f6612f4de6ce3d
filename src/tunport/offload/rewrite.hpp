#pragma once
/// Other addresses and ports for a packet: the work of a translator (NAT).

#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The two ends of a TCP segment or UDP datagram. Both addresses are of the same family.
struct FlowEnds {
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  bool operator==(const FlowEnds&) const = default;
};

/// Gives a whole TCP or UDP packet other ends, in place: a single datagram, or a super-packet whole. The
/// checksums of IPv4 and of the transport move along by the difference (RFC 1624): a right checksum stays
/// right, a wrong one wrong, one left to fill is to be filled still, and UDP without a checksum has none. The
/// cost does not depend on the packet's size.
///
/// `packet` starts with the link's header as `kind` has it; `left` is the work left to do
/// (`Packet::offload()`), which stays the same. False, and nothing is changed, unless the packet is an
/// unfragmented TCP or UDP datagram of the family of `ends`, with lengths that agree, and without a routing
/// header under way.
bool rewrite_ends(MutableBytes packet, const PacketOffload& left, DeviceKind kind, const FlowEnds& ends);

}  // namespace tunport
