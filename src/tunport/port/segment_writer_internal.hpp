#pragma once
/// The datagrams of tunnel packets on their way into a UDP socket, with room for a program's own bytes.
///
/// Theory. Each datagram of a super-packet is made at its place in the run that the outbox gathers: the
/// segmenter copies the payload there, and sums it meanwhile. The datagram is sealed there, too, so no byte
/// is copied twice in this process. A sendmsg(2) straight from the packet's place, two parts for each
/// datagram, costs 20 % more CPU time (the row vpn_tcp): runs do not go on from packet to packet then, and
/// the kernel copies small parts slowly.

#include <memory>

#include "tunport/base/function_ref.hpp"
#include "tunport/base/lifeline.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/port/outbox_internal.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/port/udp_sink_internal.hpp"

namespace tunport {

/// See the theory above. Memory for datagrams that are not gathered is allocated with the first packet.
class SegmentWriter {
 public:
  /// `outbox` outlives the writer. `longest`: of a datagram, in bytes.
  SegmentWriter(Outbox<UdpSink>& outbox, std::size_t longest) : outbox_{outbox}, longest_{longest} {}

  /// As `UdpPort::write_segments`. The port may die under a write: `alive` tells, and the rest of the packet
  /// is not sent. Preconditions: the reactor is corked, and the sink has no objection.
  WriteResult write(const UdpSink::Tag& way, const Packet& packet, SegmentRoom room,
                    FunctionRef<void(MutableBytes)> seal, const Lifeline::Watch& alive);

 private:
  bool fits(SegmentRoom room, std::size_t size) const;

  Outbox<UdpSink>& outbox_;
  std::size_t longest_;
  Segmenter segmenter_;
  std::unique_ptr<std::byte[]> scratch_;
};

}  // namespace tunport
