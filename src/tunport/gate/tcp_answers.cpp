#include <array>

#include "tunport/gate/icmp_error_internal.hpp"
#include "tunport/gate/tcp_answers_internal.hpp"
#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

WriteResult send(FrameTransport& port, const FlowEnds& ends, std::uint8_t protocol,
                 std::span<const Bytes> payload) {
  return send_ip({.source = ends.source, .destination = ends.destination, .protocol = protocol}, payload, 0,
                 [&](std::span<const Bytes> parts) { return port.write_sequence(parts); });
}

FlowEnds reversed(const FlowEnds& ends) {
  return {ends.destination, ends.source, ends.destination_port, ends.source_port};
}

IcmpErrorKind error_of(GateRefusal how) {
  if (how == GateRefusal::network_unreachable) return IcmpErrorKind::network;
  if (how == GateRefusal::prohibited) return IcmpErrorKind::prohibited;
  return IcmpErrorKind::host;
}

}  // namespace

WriteResult write_segment(FrameTransport& port, const FlowEnds& ends, const BareSegment& segment) {
  std::array<std::byte, TcpHeader::size> bytes;
  TcpHeader{.source_port = ends.source_port,
            .destination_port = ends.destination_port,
            .sequence = segment.sequence,
            .acknowledgment = segment.acknowledgment,
            .flags = segment.flags}
      .emit(bytes, {}, ends.source, ends.destination);
  const Bytes part{bytes};
  return send(port, ends, ip_protocol::tcp, {&part, 1});
}

WriteResult write_refusal(FrameTransport& port, const FlowEnds& ends, Bytes syn, GateRefusal how) {
  const FlowEnds back = reversed(ends);
  if (how == GateRefusal::drop) return WriteResult::make_sent();
  if (how == GateRefusal::reset) {
    DropReason why{};
    const auto ip = IpView::checked(syn, why);
    const auto tcp = ip ? TcpView::trusted(ip->payload(), why) : std::nullopt;
    if (!tcp) return WriteResult::make_refused(why);
    return write_segment(
        port, back,
        {.flags = tcp_flag::rst | tcp_flag::ack, .acknowledgment = tcp->sequence() + tcp->sequence_length()});
  }
  const bool sent = send_icmp_error(port, back.source, back.destination, error_of(how), syn);
  return sent ? WriteResult::make_sent() : WriteResult::make_refused(DropReason::answer_not_allowed);
}

}  // namespace tunport
