#pragma once
/// Changes of a checksum's state: filling a checksum, leaving a checksum to fill, and verifying.

#include "tunport/base/bytes.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// The offset of the checksum in the transport header of `layout`, in bytes.
std::uint16_t checksum_offset_of(const Layout& layout);

/// The sum of the pseudo-header (RFC 768, RFC 8200 8.1), neither folded nor complemented. `length`: bytes of
/// the transport header and its payload.
std::uint32_t pseudo_header_sum(Bytes packet, const Layout& layout, std::uint32_t length);

/// Fills the checksum that `offload` leaves to fill. The offsets alone count, not the protocol: a checksum of
/// 0 becomes 0xffff at UDP's offset, because 0 means "no checksum" in UDP. The sum includes the bytes behind
/// the IP packet, as in the kernel: padding is zero. Preconditions: `offload.checksum` is `to_fill`, and the
/// checksum lies within the packet.
void complete_checksum(MutableBytes packet, const PacketOffload& offload);

/// Leaves a complete checksum to fill, in the packet and in `offload`: the kernel takes super-packets only
/// so. The caller vouches for the packet's bytes: an error among them gets a right checksum.
void prepare_checksum(MutableBytes packet, const Layout& layout, PacketOffload& offload);

/// True if the packet has a right TCP or UDP checksum. False for UDP without a checksum.
bool verify_checksum(Bytes packet, const Layout& layout);

}  // namespace tunport
