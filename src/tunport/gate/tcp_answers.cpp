#include <algorithm>
#include <array>

#include "tunport/gate/tcp_answers_internal.hpp"
#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

constexpr std::uint8_t icmp_code_prohibited = 13;  // RFC 1812 5.2.7.1

WriteResult send(FrameTransport& port, const FlowEnds& ends, std::uint8_t protocol,
                 std::span<const Bytes> payload) {
  return send_ip({.source = ends.source, .destination = ends.destination, .protocol = protocol}, payload, 0,
                 [&](std::span<const Bytes> parts) { return port.write_sequence(parts); });
}

FlowEnds reversed(const FlowEnds& ends) {
  return {ends.destination, ends.source, ends.destination_port, ends.source_port};
}

std::uint8_t code_of(GateRefusal how, bool v6) {
  switch (how) {
    case GateRefusal::network_unreachable:
      return v6 ? 0 : icmp_unreachable::net;
    case GateRefusal::prohibited:
      return v6 ? 1 : icmp_code_prohibited;
    case GateRefusal::host_unreachable:
    case GateRefusal::reset:
    case GateRefusal::drop:
      break;
  }
  return v6 ? 3 : icmp_unreachable::host;  // address unreachable, RFC 4443 3.1
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
  const bool v6 = ends.source.is_v6();
  // The quotation ends at the size that every host takes (RFC 1812 4.3.2.3; RFC 4443 2.4 (c)).
  const std::size_t most = v6 ? least_ipv6_mtu - Ipv6Header::size - Icmpv6Header::size
                              : std::size_t{576} - Ipv4Header::size - IcmpHeader::size;
  const Bytes quoted = syn.first(std::min(most, syn.size()));
  std::array<std::byte, IcmpHeader::size> header;
  static_assert(IcmpHeader::size == Icmpv6Header::size);
  if (v6)
    Icmpv6Header{.type = icmpv6_type::destination_unreachable, .code = code_of(how, true)}.emit(
        header, quoted, back.source.v6(), back.destination.v6());
  else
    IcmpHeader{.type = icmp_type::destination_unreachable, .code = code_of(how, false)}.emit(header, quoted);
  const std::array<Bytes, 2> parts{header, quoted};
  return send(port, back, v6 ? ip_protocol::icmpv6 : ip_protocol::icmp, parts);
}

}  // namespace tunport
