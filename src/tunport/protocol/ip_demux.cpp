#include "tunport/protocol/ip_demux.hpp"

#include <algorithm>
#include <array>

#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {

namespace {

/// False for a checksum to fill that does not start at the datagram's payload: in an inner tunnel, or by a
/// hostile sender.
bool fills_payload(const IpDatagram& datagram) {
  const Packet& packet = datagram.arrival.packet;
  const PacketOffload left = packet.offload();
  return left.checksum != ChecksumState::to_fill ||
         packet.bytes().data() + left.checksum_start == datagram.payload().data();
}

}  // namespace

WriteResult IpDatagram::reply(std::uint8_t protocol, std::span<const Bytes> payload,
                              const AnswerFields& fields) const {
  std::array<Bytes, Arrival::max_parts> parts;
  const std::size_t length = size_of(payload);
  // Never fragmented: the identification has no meaning (RFC 6864 4.1).
  const Ipv4Header header{.tos = fields.tos,
                          .dont_fragment = true,
                          .protocol = protocol,
                          .source = ip.destination(),
                          .destination = ip.source(),
                          .options = fields.options,
                          .payload_length = static_cast<std::uint16_t>(length)};
  if (payload.size() > max_parts || length > Ipv4Header::max_total_length - header.header_length()) {
    arrival.transport.drop(DropReason::too_long);
    return WriteResult::make_refused(DropReason::too_long);
  }
  std::array<std::byte, Ipv4Header::max_size> bytes;
  header.emit(bytes);
  parts[0] = Bytes{bytes}.first(header.header_length());
  std::ranges::copy(payload, parts.begin() + 1);
  return arrival.reply(std::span{parts}.first(payload.size() + 1));
}

bool IpDatagram::is_checksum_trusted() const {
  const PacketOffload left = arrival.packet.offload();
  if (left.checksum != ChecksumState::to_fill) return left.checksum == ChecksumState::verified;
  // The checksum to fill must be the transport's, not another field.
  std::size_t offset = 0;
  if (ip.protocol() == ip_protocol::udp)
    offset = UdpHeader::checksum_offset;
  else if (ip.protocol() == ip_protocol::tcp)
    offset = TcpHeader::checksum_offset;
  else
    return false;
  return left.checksum_offset == offset &&
         payload().data() == arrival.packet.bytes().data() + left.checksum_start;
}

void IpDatagram::for_each_plain(FunctionRef<void(const IpDatagram&)> call) const {
  const auto offset = static_cast<std::size_t>(ip.bytes().data() - arrival.packet.bytes().data());
  arrival.packet.for_each_plain([&](const Packet& plain) {
    DropReason why{};
    const auto part = Ipv4View::checked(plain.bytes().subspan(offset), why);
    if (!part) return arrival.transport.drop(why);
    const std::optional<EthernetView> frame =
        arrival.ethernet != nullptr ? EthernetView::checked(plain.bytes(), why) : std::nullopt;
    call({*part, {arrival.transport, frame ? &*frame : nullptr, arrival.local_mac, plain}});
  });
}

void IpDemux::frame_received(const Packet& packet) {
  FrameTransport& port = transport();
  if (packet.truncated()) return port.drop(DropReason::truncated);
  packet_received(packet.bytes(), {.transport = port, .packet = packet});
}

void IpDemux::packet_received(Bytes payload, const Arrival& arrival) {
  const auto drop = [&](DropReason reason) { arrival.transport.drop(reason, arrival.packet.datagrams()); };
  DropReason why{};
  const auto ip = Ipv4View::checked(payload, why);
  if (!ip) return drop(why);
  const IpDatagram datagram{*ip, arrival};
  if (const auto reason = screen(datagram)) return drop(*reason);
  if (ip->is_fragment()) return drop(DropReason::ip_fragment);
  if (!fills_payload(datagram)) return drop(DropReason::bad_offload);
  auto protocols = protocols_.range(ip->protocol());
  if (arrival.packet.is_plain() || protocols.accepts_super_packets()) return deliver(protocols, datagram);
  datagram.for_each_plain([&](const IpDatagram& plain) { deliver(protocols, plain); });
}

void IpDemux::deliver(Protocols::Range& protocols, const IpDatagram& datagram) {
  const Packet& packet = datagram.arrival.packet;
  if (protocols.empty()) return nobody_home(datagram);
  for (TransportProtocol& protocol : protocols) {
    if (packet.is_port_gone()) continue;
    protocol.make_connection(datagram.arrival.transport);
    protocol.datagram_received(datagram);
  }
}

void IpDemux::nobody_home(const IpDatagram& datagram) {
  const Arrival& arrival = datagram.arrival;
  arrival.transport.drop(DropReason::unknown_ip_protocol, arrival.packet.datagrams());
}

}  // namespace tunport
