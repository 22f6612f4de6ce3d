#pragma once
/// From one checksum state to another: filling what was left to fill, leaving to fill what is complete, and
/// looking whether it is right.

#include "tunport/base/bytes.hpp"
#include "tunport/offload/layout.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// Where the checksum of that layout's transport is, from the transport header.
std::uint16_t checksum_offset_of(const Layout& layout);

/// The sum of the pseudo-header (RFC 768, RFC 8200 8.1) for a transport header and payload of `length` bytes,
/// neither folded nor complemented.
std::uint32_t pseudo_header_sum(Bytes packet, const Layout& layout, std::uint32_t length);

/// Fills the checksum that `offload` leaves to fill; for any protocol, as only the offsets are looked at. A
/// UDP checksum of 0 becomes 0xffff, as 0 says that there is none. What lies behind the IP packet is summed
/// too, as the kernel does: padding is zero. Precondition: `offload.checksum` is `to_fill`.
void complete_checksum(MutableBytes packet, const PacketOffload& offload);

/// Makes a checksum that is complete one that is to be filled, in the packet and in `offload`: the way in
/// which the kernel takes super-packets. Whoever calls this vouches for the packet's bytes: an error in them
/// gets a right checksum.
void prepare_checksum(MutableBytes packet, const Layout& layout, PacketOffload& offload);

/// True if the packet has a TCP or UDP checksum and it is right.
bool verify_checksum(Bytes packet, const Layout& layout);

}  // namespace tunport
