#include "tunport/protocol/udp_demux.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/protocol/neighbors_internal.hpp"
#include "tunport/protocol/unresolved_internal.hpp"
#include "tunport/wire/neighbor_discovery_internal.hpp"

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

UdpDemux::UdpDemux(UdpDemuxOptions options) : options_{std::move(options)} {
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
                     .traffic_class = datagram.ip.traffic_class()};
  delivered.to_group = datagram.arrival.is_link_broadcast() || delivered.to.address.is_multicast();
  if (!delivered.to_group) {
    last_asked_[delivered.to.address.is_v6()] = delivered.to.address;
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

IpAddress UdpDemux::source_to(const IpAddress& host) const {
  return neighbor_discovery::first_source(options_.addresses, host).value_or(last_asked_[host.is_v6()]);
}

WriteResult UdpDemux::write_from(std::optional<std::uint16_t> port, const Endpoint& to, Bytes data) {
  Endpoint from{source_to(to.address), 0};
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

bool UdpDemux::ask(FrameTransport&, const IpAddress&, const IpAddress&) { return false; }

/// Keeps a datagram while the link is asked for the receiver.
WriteResult UdpDemux::wait_for_way(FrameTransport& port, const Endpoint& from, const Endpoint& to,
                                   Bytes data) {
  if (unresolved_->keep(port, from, to, data) && !ask(port, to.address, from.address)) {
    unresolved_->take(to.address);
    return refuse(DropReason::no_route);
  }
  return WriteResult::make_queued();
}

bool UdpDemux::found(const IpAddress& host, const Arrival& arrival) {
  const auto kept = unresolved_->take(host);
  if (!kept) return false;
  neighbors_->learn(host, arrival, kept->from, host.is_v4() ? ethertype::ipv4 : ethertype::ipv6);
  send(kept->from, kept->to, kept->payload);
  return true;
}

WriteResult UdpDemux::send(const Endpoint& from, const Endpoint& to, Bytes data) {
  const IpAddress& source = from.address;
  if (to.address.is_v4() != source.is_v4() || source.is_unspecified() || from.port == 0 || to.port == 0)
    return refuse(DropReason::no_route);
  if (data.size() > largest_payload) return refuse(DropReason::too_long);
  std::array<std::byte, UdpHeader::size> udp;
  UdpHeader{.source_port = from.port, .destination_port = to.port}.emit(udp, data, source, to.address);
  const std::array<Bytes, 2> payload{udp, data};
  const AnswerFields fields{.path_mtu = path_mtu(to.address)};
  if (has_way_back() && to.address == current_->datagram.source() &&
      source == current_->datagram.destination())
    return current_->datagram.reply(ip_protocol::udp, payload, fields);
  FrameTransport* port = connected_transport();
  Way way;
  if (const Way* const known = neighbors_->find(to.address)) {
    way = *known;
    port = way.port;
  } else if (port == nullptr || port->kind() == DeviceKind::tap) {
    return port == nullptr ? refuse(DropReason::no_route) : wait_for_way(*port, from, to, data);
  }
  // The link is asked for its MTU only where that matters.
  std::size_t mtu = fields.path_mtu;
  if (mtu == 0 && data.size() > least_ipv6_mtu - Ipv6Header::size - UdpHeader::size) mtu = port->mtu();
  bool is_first = true;
  const auto write = [&](std::span<const Bytes> ip) {
    // A fragment may have paused a producer, which may have destroyed the port.
    if (!std::exchange(is_first, false) && connected_transport() != port) {
      const Way* const known = neighbors_->find(to.address);
      if (known == nullptr || known->port != port) return WriteResult::make_refused(DropReason::aborted);
    }
    std::array<Bytes, max_ip_parts + 2> parts;
    parts[0] = way.link_header();
    std::ranges::copy(ip, parts.begin() + 1);
    const std::size_t skipped = parts[0].empty() ? 1 : 0;
    return port->write_sequence(std::span<const Bytes>{parts}.subspan(skipped, ip.size() + 1 - skipped));
  };
  return send_ip({source, to.address, ip_protocol::udp, fields}, payload, mtu, write);
}

}  // namespace tunport
