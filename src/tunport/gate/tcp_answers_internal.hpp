#pragma once
/// What a gate writes of its own: resets, and ICMP errors about a SYN.

#include <cstdint>

#include "tunport/gate/gate_options.hpp"
#include "tunport/offload/rewrite.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// The numbers of a TCP segment without payload and options.
struct BareSegment {
  std::uint8_t flags = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
};
/// Writes a bare segment with the given ends to a TUN.
WriteResult write_segment(FrameTransport& port, const FlowEnds& ends, const BareSegment& segment);

/// Answers a refused SYN: `syn` is its IP packet, with the checksum complete, `ends` are its ends. Nothing is
/// written for `GateRefusal::drop`.
WriteResult write_refusal(FrameTransport& port, const FlowEnds& ends, Bytes syn, GateRefusal how);

}  // namespace tunport
