#pragma once
/// The change of a packet's ends where the headers are known.

#include <cstdint>
#include <span>

#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/rewrite.hpp"

namespace tunport {

/// The difference of two byte strings for the Internet checksum (RFC 1624 3): a sum of 16-bit words in the
/// order of memory, not folded.
class ChecksumDelta {
 public:
  /// Notes that `from` becomes `to`: both of the same, even size, at an even offset of the summed bytes.
  void change(Bytes from, Bytes to);
  /// The complete checksum `field` after the changes (equation 3), in host order.
  std::uint16_t apply(std::uint16_t field) const;
  /// The sum to be filled, `field`, after the changes: not complemented. In host order.
  std::uint16_t apply_to_sum(std::uint16_t field) const;

 private:
  std::uint64_t sum_ = 0;
};

/// As `rewrite_ends`, with the headers at `layout` (`ip`, `transport`, `v6` and `protocol` count).
/// Preconditions: the addresses of `ends` are of the layout's family; the transport header is whole.
void rewrite_at(MutableBytes packet, const PacketOffload& left, const Layout& layout, const FlowEnds& ends);

/// Gives the start of a TCP or UDP packet that an ICMP error quotes other ends: the IP header, and as much of
/// the transport header as there is, 8 bytes at least.
void rewrite_quoted(MutableBytes quoted, const Layout& layout, const FlowEnds& ends);

}  // namespace tunport
