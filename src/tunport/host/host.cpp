#include "tunport/host/host.hpp"

#include <algorithm>
#include <array>

#include "tunport/host/dhcp_service_internal.hpp"
#include "tunport/host/host_state_internal.hpp"
#include "tunport/host/icmp_service_internal.hpp"
#include "tunport/host/icmpv6_service_internal.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/ipv4_options_internal.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

class UdpService;

class ArpService : public NetworkProtocol {
 public:
  ArpService(HostState& state, UdpService& udp) : state_{state}, udp_{udp} {}

  void packet_received(Bytes payload, const Arrival& arrival) override {
    const auto drop = [&](DropReason reason) { arrival.transport.drop(reason); };
    DropReason why{};
    const auto arp = ArpView::checked(payload, why);
    if (!arp) return drop(why);
    if (arp->operation() == arp_operation::reply) return found(*arp, arrival);
    // A probe for a duplicate comes from no address (RFC 5227); it is answered for listed addresses only.
    const Ipv4Address sender = arp->sender_ip();
    const bool is_probe = sender.is_unspecified();
    if (arp->operation() != arp_operation::request ||
        !(is_probe ? state_.is_listed(arp->target_ip()) : state_.owns(arp->target_ip())))
      return drop(DropReason::arp_not_for_us);
    // A sender with an address of ours, or of a group, is not answered.
    if (arp->sender_mac().is_multicast() || state_.owns(sender) || (!is_probe && !state_.is_source(sender)))
      return drop(DropReason::answer_not_allowed);
    const ArpHeader answer{.operation = arp_operation::reply,
                           .sender_mac = state_.mac,
                           .sender_ip = arp->target_ip(),
                           .target_mac = arp->sender_mac(),
                           .target_ip = sender};
    std::array<std::byte, ArpHeader::size> bytes;
    answer.emit(bytes);
    const Bytes part = bytes;
    if (arrival.reply({&part, 1})) ++state_.statistics.arp_replies;
  }

 private:
  /// The answer to a question of ours; the frame is the sender's own.
  void found(const ArpView& arp, const Arrival& arrival);

  HostState& state_;
  UdpService& udp_;
};

class IpService : public IpDemux {
 public:
  IpService(HostState& state, IcmpService& icmp, Icmpv6Service& icmpv6, const DhcpService& dhcp)
      : state_{state}, icmp_{icmp}, icmpv6_{icmpv6}, dhcp_{dhcp} {}
  std::string name() const override { return "Host"; }
  void start_protocol() override {
    FrameTransport* const port = connected_transport();
    if (port != nullptr && port->kind() == DeviceKind::tun) icmpv6_.begin(*port);
    IpDemux::start_protocol();
  }

 protected:
  std::optional<DropReason> screen(const IpDatagram& datagram) override {
    if (!datagram.ip.is_v4()) return screen_v6(datagram);
    if (dhcp_.is_asked(datagram)) return std::nullopt;
    if (!state_.owns(datagram.destination())) return DropReason::ip_wrong_address;
    if (const IpAddress source = datagram.source(); !state_.is_source(source) || state_.owns(source))
      return DropReason::ip_bad_source;
    if (datagram.arrival.is_link_broadcast()) return DropReason::answer_not_allowed;
    if (ipv4_options::has_unspent_source_route(datagram.ip.options())) return DropReason::ip_source_route;
    return std::nullopt;
  }
  void nobody_home(const IpDatagram& datagram) override {
    // Nothing follows, so nothing is missing (RFC 8200 4.7).
    if (!datagram.ip.is_v4() && datagram.protocol() == ip_protocol::no_next_header)
      return IpDemux::nobody_home(datagram);
    icmp_.refuse(datagram, Refusal::protocol, state_.statistics.protocol_unreachable,
                 DropReason::unknown_ip_protocol);
  }
  void reassembly_timed_out(const IpDatagram& first) override {
    icmp_.refuse(first, Refusal::parts, state_.statistics.reassembly_timeouts, DropReason::ip_fragment);
  }
  void header_refused(const IpDatagram& datagram, const Ipv6Problem& problem, DropReason reason) override {
    const auto source = source_of_error(datagram, problem);
    if (!source) return IpDemux::header_refused(datagram, problem, reason);
    icmp_.refuse(datagram, Refusal::header, state_.statistics.parameter_problems, reason,
                 {.problem = problem, .source = *source});
  }

 private:
  /// Groups, and the unspecified source of a probe, are for ICMPv6 only.
  std::optional<DropReason> screen_v6(const IpDatagram& datagram) const {
    if (!state_.has_v6()) return DropReason::ip_bad_version;
    const IpAddress destination = datagram.destination();
    const bool is_icmp = datagram.protocol() == ip_protocol::icmpv6;
    const bool to_group = destination.is_multicast();
    if (to_group ? !is_icmp || !icmpv6_.is_joined(destination.v6()) : !state_.owns(destination))
      return DropReason::ip_wrong_address;
    const IpAddress source = datagram.source();
    const bool is_probe = source.is_unspecified() && is_icmp && to_group;
    if ((!state_.is_source(source) && !is_probe) || state_.owns(source)) return DropReason::ip_bad_source;
    if (datagram.arrival.is_link_broadcast() && !to_group) return DropReason::answer_not_allowed;
    return std::nullopt;
  }

  /// The source of an error about a header; nothing where no error is due (RFC 4443 2.4 (e)). The screen has
  /// not seen the datagram.
  std::optional<IpAddress> source_of_error(const IpDatagram& datagram, const Ipv6Problem& problem) const {
    const IpAddress source = datagram.source();
    if (!state_.has_v6() || !state_.is_source(source) || state_.owns(source)) return std::nullopt;
    if (is_icmpv6_error(datagram.ip.bytes())) return std::nullopt;
    const IpAddress destination = datagram.destination();
    if (!destination.is_multicast()) {
      if (!state_.owns(destination) || datagram.arrival.is_link_broadcast()) return std::nullopt;
      return destination;
    }
    if (!problem.is_told_by_groups || !icmpv6_.is_joined(destination.v6())) return std::nullopt;
    return neighbor_discovery::first_source(state_.sources(), source);
  }

  HostState& state_;
  IcmpService& icmp_;
  Icmpv6Service& icmpv6_;
  const DhcpService& dhcp_;
};

/// TCP without connections: each segment is reset (RFC 9293 3.10.7.1).
class TcpService : public TransportProtocol {
 public:
  explicit TcpService(HostState& state)
      : state_{state}, resets_{state.options.errors_per_second, state.options.errors_at_once} {}

  /// True: a super-packet is a longer segment, and one reset answers it.
  bool accepts_super_packets() const override { return true; }

  void datagram_received(const IpDatagram& datagram) override {
    FrameTransport& port = datagram.arrival.transport;
    const auto drop = [&](DropReason reason) { port.drop(reason, datagram.arrival.packet.datagrams()); };
    DropReason why{};
    const auto tcp = datagram.is_checksum_trusted() ? TcpView::trusted(datagram.payload(), why)
                                                    : TcpView::checked(datagram.payload(), datagram.source(),
                                                                       datagram.destination(), why);
    if (!tcp) return drop(why);
    if ((tcp->flags() & tcp_flag::rst) != 0) return drop(DropReason::answer_not_allowed);
    if (!resets_.take(port.reactor().now())) return drop(DropReason::rate_limited);
    const std::size_t datagrams = datagram.arrival.packet.datagrams();
    const WriteResult sent = reset(*tcp, datagram);
    if (sent) ++state_.statistics.tcp_resets;
    // As after an ICMP error.
    if (const std::size_t counted = sent ? 0 : 1; counted < datagrams)
      if (!datagram.arrival.packet.is_port_gone())
        port.drop(DropReason::unknown_tcp_port, datagrams - counted);
  }

 private:
  static WriteResult reset(const TcpView& tcp, const IpDatagram& datagram) {
    TcpHeader answer{
        .source_port = tcp.destination_port(), .destination_port = tcp.source_port(), .flags = tcp_flag::rst};
    if ((tcp.flags() & tcp_flag::ack) != 0) {
      answer.sequence = tcp.acknowledgment();
    } else {
      answer.acknowledgment = tcp.sequence() + tcp.sequence_length();
      answer.flags |= tcp_flag::ack;
    }
    std::array<std::byte, TcpHeader::size> bytes;
    answer.emit(bytes, {}, datagram.destination(), datagram.source());
    const Bytes part = bytes;
    return datagram.reply(ip_protocol::tcp, {&part, 1}, {.tos = tos_of_answer(datagram.ip)});
  }

  HostState& state_;
  TokenBucket resets_;
};

class UdpService : public UdpDemux {
 public:
  UdpService(HostState& state, IcmpService& icmp, Icmpv6Service& icmpv6, DhcpService& dhcp)
      : state_{state}, icmp_{icmp}, icmpv6_{icmpv6}, dhcp_{dhcp} {}
  using UdpDemux::found;

  void datagram_received(const IpDatagram& datagram) override {
    if (!dhcp_.is_asked(datagram)) return UdpDemux::datagram_received(datagram);
    DropReason why{};
    const auto udp = UdpView::checked(datagram.payload(), datagram.source(), datagram.destination(), why);
    if (!udp) return datagram.arrival.transport.drop(why);
    dhcp_.received(datagram, *udp);
  }

 protected:
  bool ask(FrameTransport& port, const IpAddress& host, const IpAddress& from) override {
    if (!state_.is_on_link(host) || !state_.is_source(host) || state_.owns(host)) return false;
    if (host.is_v6()) return icmpv6_.ask(port, host.v6(), from.v6());
    std::array<std::byte, EthernetHeader::size + ArpHeader::size> frame;
    EthernetHeader{.destination = MacAddress::broadcast(), .source = state_.mac, .ethertype = ethertype::arp}
        .emit(frame);
    ArpHeader{.operation = arp_operation::request,
              .sender_mac = state_.mac,
              .sender_ip = from.v4(),
              .target_mac = {},
              .target_ip = host.v4()}
        .emit(MutableBytes{frame}.subspan(EthernetHeader::size));
    if (!port.write(frame)) return false;
    ++state_.statistics.arp_requests;
    return true;
  }
  IpAddress source_to(const IpAddress& host) const override {
    return neighbor_discovery::first_source(state_.sources(), host).value_or(UdpDemux::source_to(host));
  }
  std::size_t path_mtu(const IpAddress& host) override {
    return state_.path_mtus.find(host, transport().reactor().now());
  }
  void nobody_home(const UdpView& /*udp*/, const IpDatagram& datagram) override {
    icmp_.refuse(datagram, Refusal::port, state_.statistics.port_unreachable, DropReason::unknown_udp_port);
  }

 private:
  HostState& state_;
  IcmpService& icmp_;
  Icmpv6Service& icmpv6_;
  DhcpService& dhcp_;
};

void ArpService::found(const ArpView& arp, const Arrival& arrival) {
  if (!state_.owns(arp.target_ip()) || arp.sender_mac() != arrival.ethernet->source() ||
      arp.sender_mac().is_multicast() || !state_.is_source(arp.sender_ip()) ||
      !udp_.found(arp.sender_ip(), arrival))
    arrival.transport.drop(DropReason::arp_not_for_us);
}

/// Checks the options before anything is made of them.
HostOptions checked(HostOptions options) {
  if (options.advertised && (options.advertised->address.is_v4() || options.advertised->length == 0))
    throw std::invalid_argument("HostOptions::advertised must be an IPv6 prefix");
  if (options.dhcp) {
    const auto server =
        std::ranges::find_if(options.addresses, [](const IpAddress& own) { return own.is_v4(); });
    if (options.dhcp->address.is_v6() || server == options.addresses.end() ||
        !options.dhcp->contains(*server))
      throw std::invalid_argument(
          "HostOptions::dhcp must be an IPv4 subnet with the host's first IPv4 address in it");
  }
  return options;
}

}  // namespace

struct Host::Rooms {
  explicit Rooms(HostOptions options)
      : state{checked(std::move(options))},
        ethernet{*this},
        icmp{state},
        icmpv6{state,
               [this](const IpAddress& host, const Arrival& arrival) { return udp.found(host, arrival); }},
        dhcp{state},
        arp{state, udp},
        ip{state, icmp, icmpv6, dhcp},
        tcp{state},
        udp{state, icmp, icmpv6, dhcp} {
    ip.add_proto(ip_protocol::icmp, icmp);
    ip.add_proto(ip_protocol::icmpv6, icmpv6);
    ip.add_proto(ip_protocol::tcp, tcp);
    ip.add_proto(ip_protocol::udp, udp);
    ethernet.add_proto(ethertype::arp, arp);
    ethernet.add_proto(ethertype::ipv4, ip);
    ethernet.add_proto(ethertype::ipv6, ip);
  }
  void announce(FrameTransport& port);

  struct Ethernet : EthernetDemux {
    explicit Ethernet(Rooms& of) : EthernetDemux{{.address = of.state.mac}}, rooms{of} {}
    std::string name() const override { return "Host"; }
    void start_protocol() override {
      FrameTransport* const port = connected_transport();
      const LinkInfo interface = port != nullptr ? port->link_info() : LinkInfo{};
      rooms.state.settle_mac(interface);
      set_address(rooms.state.mac);
      if (interface.up) rooms.announce(*port);
      EthernetDemux::start_protocol();  // may destroy the port
    }
    void link_changed(LinkEvent event, const LinkInfo& /*link*/) override {
      if (event == LinkEvent::up) rooms.announce(transport());
    }
    void lose_transport(const FrameTransport* transport) override {
      rooms.icmpv6.lose_port(transport);
      EthernetDemux::lose_transport(transport);
    }
    Rooms& rooms;
  };

  HostState state;
  Ethernet ethernet;
  IcmpService icmp;
  Icmpv6Service icmpv6;
  DhcpService dhcp;
  ArpService arp;
  IpService ip;
  TcpService tcp;
  UdpService udp;
};

void Host::Rooms::announce(FrameTransport& port) {
  if (port.kind() == DeviceKind::tun) return;
  std::array<std::byte, EthernetHeader::size> header;
  EthernetHeader{MacAddress::broadcast(), state.mac, ethertype::arp}.emit(header);
  for (const IpAddress& address : state.options.addresses) {
    if (!address.is_v4()) continue;
    std::array<std::byte, ArpHeader::size> bytes;
    ArpHeader{.sender_mac = state.mac, .sender_ip = address.v4(), .target_ip = address.v4()}.emit(bytes);
    const std::array<Bytes, 2> parts{header, bytes};
    if (port.write_sequence(parts)) ++state.statistics.arp_announcements;
  }
  icmpv6.begin(port);
}

Host::Host(HostOptions options) : rooms_{std::make_unique<Rooms>(std::move(options))} {}
Host::~Host() = default;

EthernetFrameProtocol& Host::ethernet() { return rooms_->ethernet; }
IpPacketProtocol& Host::ip() { return rooms_->ip; }
FrameProtocol& Host::protocol(DeviceKind kind) {
  if (kind == DeviceKind::tap) return ethernet();
  return ip();
}

const MacAddress& Host::mac() const { return rooms_->state.mac; }
void Host::announce(FrameTransport& port) { rooms_->announce(port); }
bool Host::addresses_are_settled() const { return rooms_->state.is_settled(); }
const HostStatistics& Host::statistics() const {
  rooms_->state.statistics.reassembled = rooms_->ip.reassembled();
  return rooms_->state.statistics;
}

void Host::add_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.add_proto(port, endpoint); }
void Host::remove_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.remove_proto(port, endpoint); }

}  // namespace tunport
