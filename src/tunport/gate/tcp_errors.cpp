// ICMP errors about the connections of a gate.
#include <array>
#include <cstring>

#include "tunport/gate/tcp_gate_internal.hpp"
#include "tunport/offload/rewrite_internal.hpp"
#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

constexpr std::size_t quoted_transport = 8;  // bytes that every error quotes (RFC 792)

/// The packet that an error quotes.
struct Quoted {
  Layout layout;
  FlowEnds ends;
};

/// Nothing for another protocol than TCP, and for a packet cut off before its ports.
std::optional<Quoted> read_quoted(Bytes bytes, bool v6) {
  Quoted quoted;
  quoted.layout.v6 = v6;
  quoted.layout.protocol = ip_protocol::tcp;
  if (bytes.size() < (v6 ? Ipv6Header::size : Ipv4Header::size)) return std::nullopt;
  if (load_u8(bytes, 0) >> 4 != (v6 ? 6 : 4) || load_u8(bytes, v6 ? 6 : 9) != ip_protocol::tcp)
    return std::nullopt;
  if (!v6 && (load_be16(bytes, 6) & 0x1fff) != 0) return std::nullopt;  // a later fragment has no ports
  const std::size_t header = v6 ? Ipv6Header::size : (load_u8(bytes, 0) & 0xfU) * std::size_t{4};
  if (header < Ipv4Header::size || bytes.size() < header + quoted_transport) return std::nullopt;
  quoted.layout.transport = static_cast<std::uint32_t>(header);
  if (v6) {
    quoted.ends.source = Ipv6Address::load(bytes, 8);
    quoted.ends.destination = Ipv6Address::load(bytes, 24);
  } else {
    quoted.ends.source = Ipv4Address::load(bytes, 12);
    quoted.ends.destination = Ipv4Address::load(bytes, 16);
  }
  quoted.ends.source_port = load_be16(bytes, header);
  quoted.ends.destination_port = load_be16(bytes, header + 2);
  return quoted;
}

}  // namespace

bool TcpGate::error_received(const IpDatagram& datagram) {
  const bool v6 = !datagram.ip.is_v4();
  DropReason why{};
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint32_t rest = 0;
  Bytes original;
  if (v6) {
    const auto message =
        Icmpv6View::checked(datagram.payload(), datagram.source().v6(), datagram.destination().v6(), why);
    if (!message || !message->is_error()) return false;
    type = message->type();
    code = message->code();
    rest = message->rest();
    original = message->payload();
  } else {
    const auto message = IcmpView::checked(datagram.payload(), why);
    if (!message || !message->is_error() || message->type() == icmp_type::redirect ||
        message->type() == icmp_type::source_quench)
      return false;
    type = message->type();
    code = message->code();
    rest = message->rest();
    original = message->payload();
  }
  const auto quoted = read_quoted(original, v6);
  const Endpoint* const here = listener(v6);
  if (!quoted || here == nullptr || !(datagram.destination() == quoted->ends.source)) return false;
  // The packet quoted went to the client; the kernel's socket sent it under other ends.
  const FlowEnds client{quoted->ends.destination, quoted->ends.source, quoted->ends.destination_port,
                        quoted->ends.source_port};
  const std::uint32_t place = table_.find(client);
  if (place == FlowTable::none || table_[place].state == FlowState::held) return false;
  const IpAddress destination = client.destination;
  copy_.assign(original.begin(), original.end());
  rewrite_quoted(copy_, quoted->layout, {here->address, destination, here->port, table_[place].port});
  std::array<std::byte, IcmpHeader::size> header;
  if (v6)
    Icmpv6Header{.type = type, .code = code, .rest = rest}.emit(header, copy_, destination.v6(),
                                                                here->address.v6());
  else
    IcmpHeader{.type = type, .code = code, .rest = rest}.emit(header, copy_);
  const std::array<Bytes, 2> parts{header, copy_};
  ++statistics_.icmp_translated;
  // The reporting router's address may be the kernel's own, which the kernel would not take from outside.
  send_ip({.source = destination,
           .destination = here->address,
           .protocol = v6 ? ip_protocol::icmpv6 : ip_protocol::icmp},
          parts, 0,
          [&](std::span<const Bytes> out) { return datagram.arrival.transport.write_sequence(out); });
  return true;
}

}  // namespace tunport
