#include <algorithm>
#include <array>

#include "tunport/host/icmp_service_internal.hpp"
#include "tunport/wire/ipv4_options_internal.hpp"

namespace tunport {
namespace {

/// The IPv4 code and the IPv6 code of a refusal, each with its type.
struct Codes {
  IcmpHeader v4;
  Icmpv6Header v6;
};

Codes codes_of(Refusal what, const IpView& ip, const Ipv6Problem& problem) {
  switch (what) {
    case Refusal::port:
      return {{.type = icmp_type::destination_unreachable, .code = icmp_unreachable::port},
              {.type = icmpv6_type::destination_unreachable, .code = 4}};
    case Refusal::protocol:
      // Unrecognized next header: the rest points to the number.
      return {{.type = icmp_type::destination_unreachable, .code = icmp_unreachable::protocol},
              {.type = icmpv6_type::parameter_problem,
               .code = 1,
               .rest = static_cast<std::uint32_t>(ip.protocol_at())}};
    case Refusal::header:
      return {{},
              {.type = icmpv6_type::parameter_problem,
               .code = static_cast<std::uint8_t>(problem.code),
               .rest = static_cast<std::uint32_t>(problem.pointer)}};
    case Refusal::parts:
      break;
  }
  return {{.type = icmp_type::time_exceeded, .code = 1}, {.type = icmpv6_type::time_exceeded, .code = 1}};
}

WriteResult reply_icmp(const IpDatagram& to, const IcmpHeader& header, Bytes payload,
                       const AnswerFields& fields = {}) {
  std::array<std::byte, IcmpHeader::size> bytes;
  header.emit(bytes, payload);
  const std::array<Bytes, 2> parts{bytes, payload};
  return to.reply(ip_protocol::icmp, parts, fields);
}

}  // namespace

WriteResult reply_icmpv6(const IpDatagram& to, const Icmpv6Header& header, Bytes payload,
                         AnswerFields fields) {
  if (fields.source.is_v4()) fields.source = to.destination();
  std::array<std::byte, Icmpv6Header::size> bytes;
  header.emit(bytes, payload, fields.source.v6(), to.source().v6());
  const std::array<Bytes, 2> parts{bytes, payload};
  return to.reply(ip_protocol::icmpv6, parts, fields);
}

bool is_icmpv6_error(Bytes packet) {
  if (packet.size() < Ipv6Header::size) return false;
  std::uint8_t protocol = load_u8(packet, 6);
  Bytes rest = packet.subspan(Ipv6Header::size);
  while (protocol != ip_protocol::icmpv6) {
    const bool fragment = protocol == ip_protocol::ipv6_fragment;
    if (!fragment && protocol != ip_protocol::hop_by_hop && protocol != ip_protocol::routing &&
        protocol != ip_protocol::destination_options)
      return false;
    if (rest.size() < 8) return false;
    if (fragment && (load_be16(rest, 2) & 0xfff8) != 0) return false;
    const std::size_t size = fragment ? 8 : (load_u8(rest, 1) + std::size_t{1}) * 8;
    if (rest.size() < size) return false;
    protocol = load_u8(rest, 0);
    rest = rest.subspan(size);
  }
  if (rest.empty()) return false;
  const std::uint8_t type = load_u8(rest, 0);
  return type < icmpv6_type::echo_request || type == icmpv6_type::redirect;
}

bool note_path_mtu(HostState& state, Bytes quoted, std::size_t mtu, TimePoint now) {
  if (quoted.size() < Ipv4Header::size) return false;
  const std::uint8_t version = load_u8(quoted, 0) >> 4;
  IpAddress source;
  IpAddress destination;
  std::size_t size = 0;
  if (version == 4) {
    source = Ipv4Address::load(quoted, 12);
    destination = Ipv4Address::load(quoted, 16);
    size = load_be16(quoted, 2);
  } else if (version == 6 && quoted.size() >= Ipv6Header::size) {
    source = Ipv6Address::load(quoted, 8);
    destination = Ipv6Address::load(quoted, 24);
    size = Ipv6Header::size + load_be16(quoted, 4);
  } else {
    return false;
  }
  return mtu != 0 && size > mtu && state.owns(source) && state.is_source(destination) &&
         state.path_mtus.note(destination, mtu, now);
}

void IcmpService::datagram_received(const IpDatagram& datagram) {
  FrameTransport& port = datagram.arrival.transport;
  DropReason why{};
  const auto icmp = IcmpView::checked(datagram.payload(), why);
  if (!datagram.ip.is_v4()) return port.drop(DropReason::unknown_ip_protocol);
  if (!icmp) return port.drop(why);
  if (icmp->type() == icmp_type::destination_unreachable &&
      icmp->code() == icmp_unreachable::fragmentation_needed &&
      note_path_mtu(state_, icmp->payload(), icmp->rest() & 0xffff, port.reactor().now())) {
    ++state_.statistics.path_mtu_updates;
    return;
  }
  if (icmp->type() != icmp_type::echo_request || icmp->code() != 0)
    return port.drop(DropReason::icmp_unhandled);
  const IcmpHeader answer{.type = icmp_type::echo_reply, .rest = icmp->rest()};
  std::array<std::byte, ipv4_options::max_size> options;
  const std::size_t size =
      ipv4_options::record_route(datagram.ip.options(), datagram.destination().v4(), options);
  const AnswerFields fields{.tos = tos_of_answer(datagram.ip),
                            .options = Bytes{options}.first(size),
                            .path_mtu = state_.path_mtus.find(datagram.source(), port.reactor().now())};
  if (reply_icmp(datagram, answer, icmp->payload(), fields)) ++state_.statistics.icmp_echo_replies;
}

void IcmpService::refuse(const IpDatagram& datagram, Refusal what, std::uint64_t& told, DropReason reason,
                         const RefusalDetails& details) {
  FrameTransport& port = datagram.arrival.transport;
  // A datagram without its fragments is counted already.
  const std::size_t datagrams = what == Refusal::parts ? 0 : datagram.arrival.packet.datagrams();
  if (!state_.errors.take(port.reactor().now())) {
    if (datagrams != 0) port.drop(DropReason::rate_limited, datagrams);
    return;
  }
  // The datagram is quoted as sent (RFC 1122 3.2.2): a checksum left to fill is filled in place.
  datagram.arrival.packet.for_each_plain([](const Packet&) {});
  // The quotation ends at the size that every host takes (RFC 1812 4.3.2.3; RFC 4443 2.4 (c)).
  const bool v4 = datagram.ip.is_v4();
  const std::size_t most =
      v4 ? 576 - Ipv4Header::size - IcmpHeader::size : least_ipv6_mtu - Ipv6Header::size - Icmpv6Header::size;
  const Bytes original = datagram.ip.bytes();
  const Bytes quoted = original.first(std::min(most, original.size()));
  const Codes codes = codes_of(what, datagram.ip, details.problem);
  const WriteResult sent = v4 ? reply_icmp(datagram, codes.v4, quoted)
                              : reply_icmpv6(datagram, codes.v6, quoted, {.source = details.source});
  if (sent) ++told;
  // The port counts a refused answer. The answer may have paused a producer, which may have destroyed the
  // port.
  if (const std::size_t counted = sent ? 0 : 1; counted < datagrams)
    if (!datagram.arrival.packet.is_port_gone()) port.drop(reason, datagrams - counted);
}

}  // namespace tunport
