#include <algorithm>
#include <array>
#include <chrono>

#include "tunport/base/log.hpp"
#include "tunport/host/icmpv6_service_internal.hpp"
#include "tunport/wire/ethernet.hpp"

namespace tunport {
namespace {

using namespace neighbor_discovery;

constexpr auto probe_time = std::chrono::seconds{1};              // RETRANS_TIMER, one probe (RFC 4862 5.1)
constexpr auto advertisement_interval = std::chrono::minutes{5};  // below MaxRtrAdvInterval (RFC 4861 6.2.1)
constexpr std::uint32_t valid_seconds = 86'400;
constexpr std::uint32_t preferred_seconds = 14'400;

}  // namespace

/// Sends a message to a group of the link, in a frame of our own.
bool Icmpv6Service::send(FrameTransport& port, const Ipv6Address& source, const Ipv6Address& group,
                         const Icmpv6Header& header, Bytes body) const {
  std::array<std::byte, EthernetHeader::size + Ipv6Header::size + Icmpv6Header::size> bytes;
  const MutableBytes out{bytes};
  EthernetHeader{group_mac(group), state_.mac, ethertype::ipv6}.emit(out);
  Ipv6Header{.next_header = ip_protocol::icmpv6,
             .hop_limit = hop_limit,
             .source = source,
             .destination = group,
             .payload_length = static_cast<std::uint16_t>(Icmpv6Header::size + body.size())}
      .emit(out.subspan(EthernetHeader::size));
  header.emit(out.subspan(EthernetHeader::size + Ipv6Header::size), body, source, group);
  const std::array<Bytes, 2> parts{bytes, body};
  return static_cast<bool>(port.write_sequence(parts));
}

void Icmpv6Service::begin(FrameTransport& port) {
  using Use = HostState::Use;
  if (port.kind() == DeviceKind::tun) {
    for (auto& own : state_.listed) own.use = Use::usable;
    return;
  }
  port_ = &port;
  bool probing = false;
  for (auto& own : state_.listed) {
    if (own.use == Use::usable) advertise(port, own.address);
    if (own.use == Use::usable || own.use == Use::duplicate) continue;
    Body body;
    body.add(own.address);
    if (!send(port, {}, solicited_node(own.address), {.type = icmpv6_type::neighbor_solicitation},
              body.bytes()))
      continue;
    ++state_.statistics.neighbor_solicitations;
    own.use = Use::probing;
    probing = true;
  }
  if (probing)
    probe_ = port.reactor().call_later(probe_time, [this] { probed(); });
  else if (state_.options.advertised)
    advertise_prefix_later();
}

void Icmpv6Service::lose_port(const FrameTransport* port) {
  if (port != nullptr && port != port_) return;
  probe_.cancel();
  advertisement_.cancel();
  port_ = nullptr;
}

/// The time of the probes is over: silence means that an address is free.
void Icmpv6Service::probed() {
  FrameTransport& port = *port_;
  for (auto& own : state_.listed) {
    if (own.use != HostState::Use::probing) continue;
    own.use = HostState::Use::usable;
    advertise(port, own.address);
  }
  if (state_.options.advertised) advertise_prefix_later();
}

void Icmpv6Service::mark_duplicate(const Ipv6Address& address, const FrameTransport& port) {
  auto* const own = state_.find_listed(address);
  if (own == nullptr || own->use != HostState::Use::probing) return;
  own->use = HostState::Use::duplicate;
  ++state_.statistics.duplicate_addresses;
  log(LogLevel::warning, port.link_info().name,
      "another station has the address " + to_string(address) + ": the host does without");
}

/// Tells the link the station of an address, unasked (RFC 4861 7.2.6).
void Icmpv6Service::advertise(FrameTransport& port, const Ipv6Address& address) {
  Body body;
  body.add(address).add(target_link_layer_address, state_.mac);
  if (send(port, address, all_nodes(), {.type = icmpv6_type::neighbor_advertisement, .rest = override_flag},
           body.bytes()))
    ++state_.statistics.neighbor_advertisements;
}

void Icmpv6Service::advertise_prefix(FrameTransport& port, const Ipv6Address& to) {
  if (state_.listed.empty() || state_.listed.front().use != HostState::Use::usable) return;
  Body body;
  body.add_router_times().add(source_link_layer_address, state_.mac);
  body.add_prefix(*state_.options.advertised, valid_seconds, preferred_seconds);
  // Hop limit 64; neither other configuration nor a default router: lifetime 0.
  if (send(port, state_.listed.front().address, to,
           {.type = icmpv6_type::router_advertisement, .rest = std::uint32_t{64} << 24}, body.bytes()))
    ++state_.statistics.router_advertisements;
}

void Icmpv6Service::advertise_prefix_later() {
  advertise_prefix(*port_, all_nodes());
  if (port_ != nullptr)
    advertisement_ =
        port_->reactor().call_later(advertisement_interval, [this] { advertise_prefix_later(); });
}

bool Icmpv6Service::ask(FrameTransport& port, const Ipv6Address& host, const Ipv6Address& from) {
  Body body;
  body.add(host).add(source_link_layer_address, state_.mac);
  if (!send(port, from, solicited_node(host), {.type = icmpv6_type::neighbor_solicitation}, body.bytes()))
    return false;
  ++state_.statistics.neighbor_solicitations;
  return true;
}

bool Icmpv6Service::is_joined(const Ipv6Address& group) const {
  if (group == all_nodes()) return true;
  if (group == all_routers()) return state_.options.advertised.has_value();
  // The address in the message decides: a prefix has addresses at many groups.
  constexpr Ipv6Address of_none = solicited_node(Ipv6Address{});
  return std::equal(group.octets().begin(), group.octets().begin() + 13, of_none.octets().begin());
}

void Icmpv6Service::datagram_received(const IpDatagram& datagram) {
  FrameTransport& port = datagram.arrival.transport;
  if (datagram.ip.is_v4()) return port.drop(DropReason::unknown_ip_protocol);
  DropReason why{};
  const auto icmp =
      Icmpv6View::checked(datagram.payload(), datagram.source().v6(), datagram.destination().v6(), why);
  if (!icmp) return port.drop(why);
  switch (icmp->type()) {
    case icmpv6_type::echo_request:
      return echo(datagram, *icmp);
    case icmpv6_type::packet_too_big:
      if (!note_path_mtu(state_, icmp->payload(), icmp->rest(), port.reactor().now()))
        return port.drop(DropReason::icmp_unhandled);
      ++state_.statistics.path_mtu_updates;
      return;
    default:
      break;
  }
  const auto message =
      datagram.arrival.ethernet != nullptr ? Message::checked(*icmp, datagram.ip) : std::optional<Message>{};
  if (!message) return port.drop(DropReason::icmp_unhandled);
  if (message->type == icmpv6_type::neighbor_solicitation) return solicited(datagram, *message);
  if (message->type == icmpv6_type::neighbor_advertisement) return advertised(datagram, *message);
  routers_solicited(datagram, *message);
}

void Icmpv6Service::echo(const IpDatagram& datagram, const Icmpv6View& icmp) {
  FrameTransport& port = datagram.arrival.transport;
  if (icmp.code() != 0) return port.drop(DropReason::icmp_unhandled);
  if (datagram.destination().is_multicast() || datagram.source().is_unspecified())
    return port.drop(DropReason::answer_not_allowed);
  const AnswerFields fields{.tos = tos_of_answer(datagram.ip),
                            .path_mtu = state_.path_mtus.find(datagram.source(), port.reactor().now())};
  if (reply_icmpv6(datagram, {.type = icmpv6_type::echo_reply, .rest = icmp.rest()}, icmp.payload(), fields))
    ++state_.statistics.icmpv6_echo_replies;
}

void Icmpv6Service::solicited(const IpDatagram& datagram, const Message& message) {
  FrameTransport& port = datagram.arrival.transport;
  const bool is_probe = datagram.source().is_unspecified();
  const Ipv6Address target = message.target;
  if (const auto* const own = state_.find_listed(target);
      own != nullptr && own->use == HostState::Use::probing) {
    // Two stations probe for the same address: neither may use it (RFC 4862 5.4.3).
    if (is_probe) mark_duplicate(target, port);
    return port.drop(DropReason::answer_not_allowed);
  }
  if (is_probe ? !state_.is_listed(target) : !state_.owns(target))
    return port.drop(DropReason::arp_not_for_us);
  Body body;
  body.add(target).add(target_link_layer_address, state_.mac);
  const Icmpv6Header header{.type = icmpv6_type::neighbor_advertisement,
                            .rest = override_flag | (is_probe ? 0 : solicited_flag)};
  const bool sent = is_probe ? send(port, target, all_nodes(), header, body.bytes())
                             : static_cast<bool>(reply_icmpv6(datagram, header, body.bytes(),
                                                              {.hop_limit = hop_limit, .source = target}));
  if (sent) ++state_.statistics.neighbor_advertisements;
}

void Icmpv6Service::advertised(const IpDatagram& datagram, const Message& message) {
  const Arrival& arrival = datagram.arrival;
  mark_duplicate(message.target, arrival.transport);
  // An answer to a question of ours; the frame is the station's own.
  const bool is_own = message.target_mac.value_or(arrival.ethernet->source()) == arrival.ethernet->source();
  if (!is_own || arrival.ethernet->source().is_multicast() || state_.owns(message.target) ||
      (message.rest & solicited_flag) == 0 || !found_(message.target, arrival))
    arrival.transport.drop(DropReason::arp_not_for_us);
}

void Icmpv6Service::routers_solicited(const IpDatagram& datagram, const Message& /*message*/) {
  FrameTransport& port = datagram.arrival.transport;
  if (!state_.options.advertised) return port.drop(DropReason::icmp_unhandled);
  if (!state_.errors.take(port.reactor().now())) return port.drop(DropReason::rate_limited);
  advertise_prefix(port, all_nodes());
}

}  // namespace tunport
