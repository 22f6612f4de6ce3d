#include "tunport/protocol/ip_demux.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/protocol/reassembly_internal.hpp"
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
  const bool other = !fields.source.is_unspecified() || fields.source.is_v6();
  const IpOutput output{other ? fields.source : destination(), source(), protocol, fields};
  std::size_t mtu = fields.path_mtu;
  // The link is asked for its MTU only where that matters.
  if (const std::size_t size = size_of(payload); mtu == 0 && size > least_ipv6_mtu - Ipv6Header::size)
    mtu = arrival.transport.mtu();
  bool asked = false;
  const WriteResult result = send_ip(output, payload, mtu, [&](std::span<const Bytes> parts) {
    // A fragment may have paused a producer, which may have destroyed the port.
    if (std::exchange(asked, true) && arrival.packet.is_port_gone())
      return WriteResult::make_refused(DropReason::aborted);
    return arrival.reply(parts);
  });
  if (!asked) arrival.transport.drop(result.reason());
  return result;
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
    const auto part = IpView::checked(plain.bytes().subspan(offset), why);
    if (!part) return arrival.transport.drop(why);
    const std::optional<EthernetView> frame =
        arrival.ethernet != nullptr ? EthernetView::checked(plain.bytes(), why) : std::nullopt;
    call({*part, {arrival.transport, frame ? &*frame : nullptr, arrival.local_mac, plain}});
  });
}

IpDemux::IpDemux(std::size_t datagrams_in_parts)
    : reassembly_{std::make_unique<Reassembly>(
          datagrams_in_parts, [this](const IpDatagram& first) { reassembly_timed_out(first); },
          [this](const IpDatagram& fragment, const Ipv6Problem& problem) {
            header_refused(fragment, problem, DropReason::ip_bad_fragment);
          })} {}

IpDemux::~IpDemux() = default;

void IpDemux::lose_transport(const FrameTransport* transport) {
  ConnectedProtocol::lose_transport(transport);
  protocols_.lose_transport(transport);
  reassembly_->forget(transport);
}

void IpDemux::frame_received(const Packet& packet) {
  FrameTransport& port = transport();
  if (packet.truncated()) return port.drop(DropReason::truncated);
  packet_received(packet.bytes(), {.transport = port, .packet = packet});
}

void IpDemux::packet_received(Bytes payload, const Arrival& arrival) {
  const auto drop = [&](DropReason reason) { arrival.transport.drop(reason, arrival.packet.datagrams()); };
  DropReason why{};
  std::optional<Ipv6Problem> problem;
  const auto ip = IpView::checked(payload, why, problem);
  if (!ip) return not_a_datagram(payload, arrival, why, problem);
  if (arrival.ethernet != nullptr &&
      arrival.ethernet->ethertype() != (ip->is_v4() ? ethertype::ipv4 : ethertype::ipv6))
    return drop(DropReason::ip_bad_version);
  const IpDatagram datagram{*ip, arrival};
  if (const auto reason = screen(datagram)) return drop(*reason);
  if (!fills_payload(datagram)) return drop(DropReason::bad_offload);
  if (!ip->is_fragment()) return whole_received(datagram);
  if (arrival.packet.is_super_packet()) return drop(DropReason::bad_offload);
  const Reassembly::Whole whole = reassembly_->add(datagram);
  if (whole.packet.empty()) return;
  ++reassembled_;
  const Arrival whole_arrival{arrival.transport, arrival.ethernet, arrival.local_mac,
                              arrival.packet.with_bytes(whole.packet)};
  const auto together = IpView::checked(whole.packet, why, problem);
  if (!together) return not_a_datagram(whole.packet, whole_arrival, why, problem);
  if (together->is_fragment()) return arrival.transport.drop(DropReason::ip_bad_fragment);
  whole_received({*together, whole_arrival});
}

void IpDemux::not_a_datagram(Bytes packet, const Arrival& arrival, DropReason why,
                             const std::optional<Ipv6Problem>& problem) {
  const bool is_in_frame_of_v4 =
      arrival.ethernet != nullptr && arrival.ethernet->ethertype() != ethertype::ipv6;
  const auto ip = problem && !is_in_frame_of_v4 ? IpView::by_fixed_header(packet) : std::nullopt;
  if (ip) return header_refused({*ip, arrival}, *problem, why);
  arrival.transport.drop(why, arrival.packet.datagrams());
}

void IpDemux::header_refused(const IpDatagram& datagram, const Ipv6Problem& /*problem*/, DropReason reason) {
  datagram.arrival.transport.drop(reason, datagram.arrival.packet.datagrams());
}

void IpDemux::whole_received(const IpDatagram& datagram) {
  auto protocols = protocols_.range(datagram.protocol());
  if (datagram.arrival.packet.is_plain() || protocols.accepts_super_packets())
    return deliver(protocols, datagram);
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
