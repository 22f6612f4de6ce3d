#include "tunport/protocol/ethernet_demux.hpp"

namespace tunport {
namespace {

bool has_vlan(const EthernetView& frame) {
  for (std::size_t i = 0; i < frame.tag_count(); ++i)
    if (frame.tag(i).vid != 0) return true;
  return false;
}

}  // namespace

void EthernetDemux::frame_received(const Packet& packet) {
  FrameTransport& port = transport();
  if (packet.truncated()) return port.drop(DropReason::truncated);
  DropReason why{};
  const auto frame = EthernetView::checked(packet.bytes(), why);
  if (!frame) return port.drop(why, packet.datagrams());
  const MacAddress destination = frame->destination();
  const bool group = destination.is_multicast();
  if (options_.address && !group && destination != *options_.address)
    return port.drop(DropReason::ethernet_wrong_mac, packet.datagrams());
  if (!options_.any_vlan && has_vlan(*frame)) return port.drop(DropReason::vlan_tagged, packet.datagrams());
  auto protocols = protocols_.range(frame->ethertype());
  if (packet.is_plain() || protocols.accepts_super_packets()) return deliver(protocols, port, *frame, packet);
  packet.for_each_plain([&](const Packet& plain) {
    if (const auto part = EthernetView::checked(plain.bytes(), why)) deliver(protocols, port, *part, plain);
  });
}

/// Delivers a checked frame, or a segment of a checked frame.
void EthernetDemux::deliver(Protocols::Range& protocols, FrameTransport& port, const EthernetView& frame,
                            const Packet& packet) const {
  if (protocols.empty()) return port.drop(DropReason::unknown_ethertype, packet.datagrams());
  const MacAddress destination = frame.destination();
  const Arrival arrival{port, &frame,
                        options_.address.value_or(destination.is_multicast() ? MacAddress{} : destination),
                        packet};
  for (NetworkProtocol& protocol : protocols) {
    if (packet.is_port_gone()) continue;
    protocol.make_connection(port);
    protocol.packet_received(frame.payload(), arrival);
  }
}

}  // namespace tunport
