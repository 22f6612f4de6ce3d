#include "tunport/protocol/udp_demux.hpp"

#include <array>
#include <stdexcept>
#include <utility>

#include "tunport/protocol/neighbors_internal.hpp"
#include "tunport/protocol/unresolved_internal.hpp"

namespace tunport {
namespace {

constexpr std::size_t largest_payload = Ipv4Header::max_total_length - Ipv4Header::size - UdpHeader::size;
constexpr std::size_t most_neighbors = 1'000'000;

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

/// The transport of the protocols of a UDP port.
class UdpDemux::Port final : public DatagramTransport {
 public:
  Port(UdpDemux& demux, std::uint16_t number) : demux_{demux}, number_{number} {}
  WriteResult write_to(const Endpoint& to, Bytes data) override {
    return demux_.write_from(number_, to, data);
  }
  WriteResult reply(const ReplyTo& ticket, Bytes data) override { return demux_.reply(ticket, data); }
  void drop(DropReason reason) override { demux_.drop(reason); }
  Reactor& reactor() const override { return demux_.reactor(); }

 private:
  UdpDemux& demux_;
  std::uint16_t number_;
};

UdpDemux::UdpDemux(UdpDemuxOptions options) : options_{options} {
  if (options_.neighbors == 0 || options_.neighbors > most_neighbors)
    throw std::invalid_argument("neighbors must be from 1 to 1000000");
  neighbors_ = std::make_unique<Neighbors>(options_.neighbors);
  unresolved_ = std::make_unique<Unresolved>();
}

UdpDemux::~UdpDemux() = default;

void UdpDemux::add_proto(int number, DatagramProtocol& protocol) {
  protocols_.check(number);
  std::unique_ptr<Port>& port = ports_[number];
  if (!port) port = std::make_unique<Port>(*this, static_cast<std::uint16_t>(number));
  protocols_.add(number, protocol, port.get());
}

void UdpDemux::remove_proto(int number, DatagramProtocol& protocol) {
  protocols_.remove(number, protocol);
  if (current_ != nullptr) protocol.make_connection(*this);
}

void UdpDemux::add_default(DatagramProtocol& protocol) { defaults_.add(0, protocol, this); }

void UdpDemux::remove_default(DatagramProtocol& protocol) {
  defaults_.remove(0, protocol);
  if (current_ != nullptr) protocol.make_connection(*this);
}

void UdpDemux::start_protocol() {
  protocols_.start();
  try {
    defaults_.start();
  } catch (...) {
    protocols_.stop();
    throw;
  }
}

void UdpDemux::stop_protocol() {
  protocols_.stop();
  defaults_.stop();
}

void UdpDemux::lose_transport(const FrameTransport* transport) {
  ConnectedProtocol::lose_transport(transport);
  neighbors_->forget(transport);
  unresolved_->forget(transport);
}

const Protocol& UdpDemux::thrower() const { return defaults_.thrower(protocols_.thrower(*this)); }

void UdpDemux::datagram_received(const IpDatagram& datagram) {
  FrameTransport& port = datagram.arrival.transport;
  DropReason why{};
  const auto udp = datagram.is_checksum_trusted() ? UdpView::trusted(datagram.payload(), why)
                                                  : UdpView::checked(datagram.payload(), datagram.ip.source(),
                                                                     datagram.ip.destination(), why);
  if (!udp) return port.drop(why, datagram.arrival.packet.datagrams());
  const int number = udp->destination_port();
  if (auto protocols = protocols_.range(number); !protocols.empty())
    return deliver(protocols, *ports_.at(number), *udp, datagram);
  if (auto protocols = defaults_.range(0); !protocols.empty())
    return deliver(protocols, *this, *udp, datagram);
  if (!datagram.arrival.packet.is_super_packet()) return nobody_home(*udp, datagram);
  // Each datagram has a separate answer, with a quotation of the datagram.
  datagram.for_each_plain([this](const IpDatagram& plain) {
    DropReason ignored{};  // a segment is as whole as the super-packet
    if (const auto part = UdpView::trusted(plain.payload(), ignored)) nobody_home(*part, plain);
  });
}

void UdpDemux::deliver(Protocols::Range& protocols, DatagramTransport& transport, const UdpView& udp,
                       const IpDatagram& datagram) {
  const Packet& packet = datagram.arrival.packet;
  const Current current{udp, datagram};
  const Restore<const Current*> restore{current_, &current};
  Datagram delivered{.data = {},
                     .from = {datagram.ip.source(), udp.source_port()},
                     .to = {datagram.ip.destination(), udp.destination_port()},
                     .traffic_class = datagram.ip.tos()};
  delivered.to_group = datagram.arrival.is_link_broadcast() || delivered.to.address.is_multicast();
  if (!delivered.to_group) {
    last_asked_ = delivered.to.address;
    neighbors_->learn(delivered.from.address, datagram.arrival, delivered.to);
  }
  const auto hand_over = [&](Bytes payload) {
    delivered.data = payload;
    for (DatagramProtocol& protocol : protocols) {
      if (packet.is_port_gone()) continue;
      protocol.make_connection(transport);
      protocol.datagram_received(delivered);
    }
  };
  if (!packet.is_super_packet()) return hand_over(udp.payload());
  if (protocols.accepts_super_packets()) {
    for (DatagramProtocol& protocol : protocols) {
      protocol.make_connection(transport);
      protocol.datagrams_received({udp.payload(), packet.offload().segment_size, delivered.from, delivered.to,
                                   delivered.to_group, delivered.traffic_class});
    }
    return;
  }
  FrameTransport& port = datagram.arrival.transport;
  packet.for_each_payload([&](Bytes payload) {
    if (protocols.empty()) return port.drop(DropReason::unknown_udp_port);
    hand_over(payload);
  });
}

void UdpDemux::nobody_home(const UdpView& /*udp*/, const IpDatagram& datagram) {
  datagram.arrival.transport.drop(DropReason::unknown_udp_port, datagram.arrival.packet.datagrams());
}

WriteResult UdpDemux::refuse(DropReason reason) {
  FrameTransport* const port = has_way_back() ? &current_->datagram.arrival.transport : connected_transport();
  if (port != nullptr) port->drop(reason);
  return WriteResult::make_refused(reason);
}

WriteResult UdpDemux::write_from(std::optional<std::uint16_t> port, const Endpoint& to, Bytes data) {
  Endpoint from{options_.address ? IpAddress{*options_.address} : last_asked_, 0};
  if (has_way_back() && to == Endpoint{current_->datagram.ip.source(), current_->udp.source_port()})
    from = {current_->datagram.ip.destination(), current_->udp.destination_port()};
  else if (const Way* const way = neighbors_->find(to.address))
    from = way->asked;
  if (port) from.port = *port;
  return send(from, to, data);
}

WriteResult UdpDemux::reply(const ReplyTo& ticket, Bytes data) {
  const bool asked = !ticket.from.address.is_unspecified();
  return asked ? send(ticket.from, ticket.to, data) : write_from(ticket.from.port, ticket.to, data);
}

bool UdpDemux::ask(FrameTransport&, Ipv4Address, Ipv4Address) { return false; }

/// Keeps a datagram while the link is asked for the receiver.
WriteResult UdpDemux::wait_for_way(FrameTransport& port, const Endpoint& from, const Endpoint& to,
                                   Bytes data) {
  if (unresolved_->keep(port, from, to, data) && !ask(port, to.address.v4(), from.address.v4())) {
    unresolved_->take(to.address);
    return refuse(DropReason::no_route);
  }
  return WriteResult::make_queued();
}

bool UdpDemux::found(Ipv4Address host, const Arrival& arrival) {
  const auto kept = unresolved_->take(host);
  if (!kept) return false;
  neighbors_->learn(host, arrival, kept->from, ethertype::ipv4);
  send(kept->from, kept->to, kept->payload);
  return true;
}

WriteResult UdpDemux::send(const Endpoint& from, const Endpoint& to, Bytes data) {
  if (!to.address.is_v4() || !from.address.is_v4() || from.address.is_unspecified() || from.port == 0 ||
      to.port == 0)
    return refuse(DropReason::no_route);
  if (data.size() > largest_payload) return refuse(DropReason::too_long);
  const Ipv4Address source = from.address.v4();
  std::array<std::byte, UdpHeader::size> udp;
  UdpHeader{.source_port = from.port, .destination_port = to.port}.emit(udp, data, source, to.address.v4());
  if (has_way_back() && to.address == current_->datagram.ip.source() &&
      source == current_->datagram.ip.destination()) {
    const std::array<Bytes, 2> parts{udp, data};
    return current_->datagram.reply(ip_protocol::udp, parts);
  }
  FrameTransport* port = connected_transport();
  Bytes link;
  if (const Way* const way = neighbors_->find(to.address)) {
    port = way->port;
    link = way->link_header();
  } else if (port == nullptr || port->kind() == DeviceKind::tap) {
    return port == nullptr ? refuse(DropReason::no_route) : wait_for_way(*port, from, to, data);
  }
  std::array<std::byte, Ipv4Header::size> ip;
  // Never fragmented: the identification has no meaning (RFC 6864 4.1).
  Ipv4Header{.dont_fragment = true,
             .protocol = ip_protocol::udp,
             .source = source,
             .destination = to.address.v4(),
             .payload_length = static_cast<std::uint16_t>(udp.size() + data.size())}
      .emit(ip);
  const std::array<Bytes, 4> parts{link, ip, udp, data};
  return port->write_sequence(std::span{parts}.subspan(link.empty() ? 1 : 0));
}

}  // namespace tunport
