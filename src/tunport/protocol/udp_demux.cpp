#include "tunport/protocol/udp_demux.hpp"

#include <array>
#include <utility>

namespace tunport {
namespace {

/// Restores a value at the end of a scope, also after an exception.
template <class T>
class Restore {
 public:
  Restore(T& place, T value) : place_{place}, before_{std::exchange(place, value)} {}
  ~Restore() { place_ = before_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& place_;
  T before_;
};

}  // namespace

void UdpDemux::datagram_received(const IpDatagram& datagram) {
  FrameTransport& port = datagram.arrival.transport;
  DropReason why{};
  const auto udp = datagram.is_checksum_trusted() ? UdpView::trusted(datagram.payload(), why)
                                                  : UdpView::checked(datagram.payload(), datagram.ip.source(),
                                                                     datagram.ip.destination(), why);
  if (!udp) return port.drop(why, datagram.arrival.packet.datagrams());
  const Packet& packet = datagram.arrival.packet;
  auto protocols = protocols_.range(udp->destination_port());
  if (protocols.empty()) {
    // Each datagram has an answer of its own, with a quotation of the datagram.
    if (packet.is_super_packet())
      return datagram.for_each_plain([this](const IpDatagram& plain) {
        DropReason ignored{};  // a segment is as whole as the packet was
        if (const auto part = UdpView::trusted(plain.payload(), ignored)) nobody_home(*part, plain);
      });
    return nobody_home(*udp, datagram);
  }
  const Current current{*udp, datagram};
  const Restore<const Current*> restore{current_, &current};
  const Endpoint from{datagram.ip.source(), udp->source_port()};
  const auto deliver = [&](Bytes payload) {
    for (DatagramProtocol& protocol : protocols) {
      if (packet.is_port_gone()) continue;
      protocol.make_connection(*this);
      protocol.datagram_received(payload, from);
    }
  };
  if (!packet.is_super_packet()) return deliver(udp->payload());
  packet.for_each_payload([&](Bytes payload) {
    if (protocols.empty()) return port.drop(DropReason::unknown_udp_port);
    deliver(payload);
  });
}

void UdpDemux::nobody_home(const UdpView& /*udp*/, const IpDatagram& datagram) {
  datagram.arrival.transport.drop(DropReason::unknown_udp_port);
}

WriteResult UdpDemux::write_to(const Endpoint& to, Bytes data) {
  const auto refuse = [this](DropReason reason) {
    FrameTransport* const port =
        has_way_back() ? &current_->datagram.arrival.transport : connected_transport();
    if (port != nullptr) port->drop(reason);
    return WriteResult::make_refused(reason);
  };
  if (!has_way_back()) return refuse(DropReason::no_route);
  const UdpView& udp = current_->udp;
  const IpDatagram& datagram = current_->datagram;
  if (to != Endpoint{datagram.ip.source(), udp.source_port()} || to.port == 0)
    return refuse(DropReason::no_route);
  if (data.size() > Ipv4Header::max_total_length - Ipv4Header::size - UdpHeader::size)
    return refuse(DropReason::too_long);
  std::array<std::byte, UdpHeader::size> header;
  const UdpHeader out{.source_port = udp.destination_port(), .destination_port = to.port};
  out.emit(header, data, datagram.ip.destination(), datagram.ip.source());
  const std::array<Bytes, 2> parts{header, data};
  return datagram.reply(ip_protocol::udp, parts);
}

}  // namespace tunport
