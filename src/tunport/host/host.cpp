#include "tunport/host/host.hpp"

#include <algorithm>
#include <array>

#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/host/host_mac_internal.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/ipv4_options_internal.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

bool is_one_of(const std::vector<Ipv4Address>& addresses, Ipv4Address address) {
  return std::ranges::find(addresses, address) != addresses.end();
}

/// True for an address that may be a source (RFC 1122 3.2.1.3).
bool is_source(const HostOptions& host, Ipv4Address address) {
  return is_single_host(address) && std::ranges::none_of(host.subnets, [&](const IpPrefix& subnet) {
           return subnet.address.is_v4() && subnet.length < 31 &&
                  (address == subnet.broadcast_v4() || address == subnet.network_v4());
         });
}

/// The TOS of an answer: the DSCP of the question (RFC 1122 3.2.2.6), not the ECN bits.
std::uint8_t tos_of_answer(const Ipv4View& question) {
  return static_cast<std::uint8_t>(question.dscp() << 2);
}

}  // namespace

class Host::Arp : public NetworkProtocol {
 public:
  explicit Arp(Host& host) : host_{host} {}

  void packet_received(Bytes payload, const Arrival& arrival) override {
    const auto drop = [&](DropReason reason) { arrival.transport.drop(reason); };
    DropReason why{};
    const auto arp = ArpView::checked(payload, why);
    if (!arp) return drop(why);
    if (arp->operation() == arp_operation::reply) return found(*arp, arrival);
    if (arp->operation() != arp_operation::request || !is_one_of(host_.options_.addresses, arp->target_ip()))
      return drop(DropReason::arp_not_for_us);
    // A sender with an address of ours, or of a group, is not answered. A probe comes from no address (RFC
    // 5227).
    const Ipv4Address sender = arp->sender_ip();
    if (arp->sender_mac().is_multicast() || is_one_of(host_.options_.addresses, sender) ||
        (!sender.is_unspecified() && !is_source(host_.options_, sender)))
      return drop(DropReason::answer_not_allowed);
    const ArpHeader answer{.operation = arp_operation::reply,
                           .sender_mac = host_.mac_,
                           .sender_ip = arp->target_ip(),
                           .target_mac = arp->sender_mac(),
                           .target_ip = sender};
    std::array<std::byte, ArpHeader::size> bytes;
    answer.emit(bytes);
    const Bytes part = bytes;
    if (arrival.reply({&part, 1})) ++host_.statistics_.arp_replies;
  }

 private:
  /// The answer to a question of ours; the frame is the sender's own.
  void found(const ArpView& arp, const Arrival& arrival);

  Host& host_;
};

class Host::Icmp : public TransportProtocol {
 public:
  explicit Icmp(Host& host)
      : host_{host}, errors_{host.options_.errors_per_second, host.options_.errors_at_once} {}

  void datagram_received(const IpDatagram& datagram) override {
    DropReason why{};
    const auto icmp = IcmpView::checked(datagram.payload(), why);
    if (!icmp) return datagram.arrival.transport.drop(why);
    if (icmp->type() != icmp_type::echo_request || icmp->code() != 0)
      return datagram.arrival.transport.drop(DropReason::icmp_unhandled);
    const IcmpHeader answer{.type = icmp_type::echo_reply, .rest = icmp->rest()};
    std::array<std::byte, ipv4_options::max_size> options;
    const std::size_t size =
        ipv4_options::record_route(datagram.ip.options(), datagram.ip.destination(), options);
    const AnswerFields fields{.tos = tos_of_answer(datagram.ip), .options = Bytes{options}.first(size)};
    if (send(datagram, answer, icmp->payload(), fields)) ++host_.statistics_.icmp_echo_replies;
  }

  /// Drops a datagram for `reason`, and sends "destination unreachable" with `code`, counted by `told`. The
  /// rules of RFC 1122 3.2.2 hold already: the screen keeps out groups and sources that are no single host,
  /// fragments are dropped before, and ICMP errors have a protocol.
  void refuse(const IpDatagram& datagram, std::uint8_t code, std::uint64_t& told, DropReason reason) {
    FrameTransport& port = datagram.arrival.transport;
    const std::size_t datagrams = datagram.arrival.packet.datagrams();
    if (!errors_.take(port.reactor().now())) return port.drop(DropReason::rate_limited, datagrams);
    // The datagram is quoted as sent (RFC 1122 3.2.2): a checksum left to fill is filled in place.
    datagram.arrival.packet.for_each_plain([](const Packet&) {});
    // The quotation ends at the size that every host takes (RFC 1812 4.3.2.3).
    constexpr std::size_t most = 576 - Ipv4Header::size - IcmpHeader::size;
    const Bytes original = datagram.ip.bytes();
    const IcmpHeader error{.type = icmp_type::destination_unreachable, .code = code};
    const WriteResult sent = send(datagram, error, original.first(std::min(most, original.size())));
    if (sent) ++told;
    // The port counts a refused answer. The answer may have paused a producer, which may have destroyed the
    // port.
    if (const std::size_t counted = sent ? 0 : 1; counted < datagrams)
      if (!datagram.arrival.packet.is_port_gone()) port.drop(reason, datagrams - counted);
  }

 private:
  static WriteResult send(const IpDatagram& to, const IcmpHeader& header, Bytes payload,
                          const AnswerFields& fields = {}) {
    std::array<std::byte, IcmpHeader::size> bytes;
    header.emit(bytes, payload);
    const std::array<Bytes, 2> parts{bytes, payload};
    return to.reply(ip_protocol::icmp, parts, fields);
  }

  Host& host_;
  TokenBucket errors_;
};

class Host::Ip : public IpDemux {
 public:
  Ip(Host& host, Icmp& icmp) : host_{host}, icmp_{icmp} {}
  std::string name() const override { return "Host"; }

 protected:
  std::optional<DropReason> screen(const IpDatagram& datagram) override {
    if (!is_one_of(host_.options_.addresses, datagram.ip.destination())) return DropReason::ip_wrong_address;
    if (const auto source = datagram.ip.source();
        !is_source(host_.options_, source) || is_one_of(host_.options_.addresses, source))
      return DropReason::ip_bad_source;
    if (datagram.arrival.is_link_broadcast()) return DropReason::answer_not_allowed;
    if (ipv4_options::has_unspent_source_route(datagram.ip.options())) return DropReason::ip_source_route;
    return std::nullopt;
  }
  void nobody_home(const IpDatagram& datagram) override {
    icmp_.refuse(datagram, icmp_unreachable::protocol, host_.statistics_.protocol_unreachable,
                 DropReason::unknown_ip_protocol);
  }

 private:
  Host& host_;
  Icmp& icmp_;
};

/// TCP without connections: each segment is reset (RFC 9293 3.10.7.1).
class Host::Tcp : public TransportProtocol {
 public:
  explicit Tcp(Host& host)
      : host_{host}, resets_{host.options_.errors_per_second, host.options_.errors_at_once} {}

  /// True: a super-packet is a longer segment, and one reset answers it.
  bool accepts_super_packets() const override { return true; }

  void datagram_received(const IpDatagram& datagram) override {
    FrameTransport& port = datagram.arrival.transport;
    const auto drop = [&](DropReason reason) { port.drop(reason, datagram.arrival.packet.datagrams()); };
    DropReason why{};
    const auto tcp =
        datagram.is_checksum_trusted()
            ? TcpView::trusted(datagram.payload(), why)
            : TcpView::checked(datagram.payload(), datagram.ip.source(), datagram.ip.destination(), why);
    if (!tcp) return drop(why);
    if ((tcp->flags() & tcp_flag::rst) != 0) return drop(DropReason::answer_not_allowed);
    if (!resets_.take(port.reactor().now())) return drop(DropReason::rate_limited);
    const std::size_t datagrams = datagram.arrival.packet.datagrams();
    const WriteResult sent = reset(*tcp, datagram);
    if (sent) ++host_.statistics_.tcp_resets;
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
    answer.emit(bytes, {}, datagram.ip.destination(), datagram.ip.source());
    const Bytes part = bytes;
    return datagram.reply(ip_protocol::tcp, {&part, 1}, {.tos = tos_of_answer(datagram.ip)});
  }

  Host& host_;
  TokenBucket resets_;
};

class Host::Udp : public UdpDemux {
 public:
  Udp(Host& host, Icmp& icmp) : UdpDemux{options_of(host)}, host_{host}, icmp_{icmp} {}
  using UdpDemux::found;

 protected:
  bool ask(FrameTransport& port, Ipv4Address host, Ipv4Address from) override {
    const HostOptions& options = host_.options_;
    const bool on_link =
        options.subnets.empty() ||
        std::ranges::any_of(options.subnets, [&](const IpPrefix& s) { return s.contains(host); });
    if (!on_link || !is_source(options, host) || is_one_of(options.addresses, host)) return false;
    std::array<std::byte, EthernetHeader::size + ArpHeader::size> frame;
    EthernetHeader{.destination = MacAddress::broadcast(), .source = host_.mac_, .ethertype = ethertype::arp}
        .emit(frame);
    ArpHeader{.operation = arp_operation::request,
              .sender_mac = host_.mac_,
              .sender_ip = from,
              .target_mac = {},
              .target_ip = host}
        .emit(MutableBytes{frame}.subspan(EthernetHeader::size));
    if (!port.write(frame)) return false;
    ++host_.statistics_.arp_requests;
    return true;
  }
  void nobody_home(const UdpView& /*udp*/, const IpDatagram& datagram) override {
    icmp_.refuse(datagram, icmp_unreachable::port, host_.statistics_.port_unreachable,
                 DropReason::unknown_udp_port);
  }

 private:
  static UdpDemuxOptions options_of(const Host& host) {
    if (host.options_.addresses.empty()) return {};
    return {.address = host.options_.addresses.front()};
  }

  Host& host_;
  Icmp& icmp_;
};

struct Host::Rooms {
  explicit Rooms(Host& host)
      : ethernet{host}, arp{host}, icmp{host}, ip{host, icmp}, tcp{host}, udp{host, icmp} {
    ip.add_proto(ip_protocol::icmp, icmp);
    ip.add_proto(ip_protocol::tcp, tcp);
    ip.add_proto(ip_protocol::udp, udp);
    ethernet.add_proto(ethertype::arp, arp);
    ethernet.add_proto(ethertype::ipv4, ip);
  }

  struct Ethernet : EthernetDemux {
    explicit Ethernet(Host& of) : EthernetDemux{{.address = of.mac_}}, host{of} {}
    std::string name() const override { return "Host"; }
    void start_protocol() override {
      FrameTransport* const port = connected_transport();
      const LinkInfo interface = port != nullptr ? port->link_info() : LinkInfo{};
      host.settle_mac(interface);
      set_address(host.mac_);
      if (interface.up) host.announce(*port);
      EthernetDemux::start_protocol();  // may destroy the port
    }
    Host& host;
  };

  Ethernet ethernet;
  Arp arp;
  Icmp icmp;
  Ip ip;
  Tcp tcp;
  Udp udp;
};

Host::Host(HostOptions options) : options_{std::move(options)} {
  settle_mac({});
  rooms_ = std::make_unique<Rooms>(*this);
}
Host::~Host() = default;

void Host::settle_mac(const LinkInfo& interface) {
  const Ipv4Address first = options_.addresses.empty() ? Ipv4Address{} : options_.addresses.front();
  mac_ = options_.mac ? *options_.mac : derive_mac(first, interface.name, interface.mac);
}

void Host::Arp::found(const ArpView& arp, const Arrival& arrival) {
  if (!is_one_of(host_.options_.addresses, arp.target_ip()) ||
      arp.sender_mac() != arrival.ethernet->source() || arp.sender_mac().is_multicast() ||
      !is_source(host_.options_, arp.sender_ip()) || !host_.rooms_->udp.found(arp.sender_ip(), arrival))
    arrival.transport.drop(DropReason::arp_not_for_us);
}

EthernetFrameProtocol& Host::ethernet() { return rooms_->ethernet; }
IpPacketProtocol& Host::ip() { return rooms_->ip; }
FrameProtocol& Host::protocol(DeviceKind kind) {
  if (kind == DeviceKind::tap) return ethernet();
  return ip();
}

void Host::announce(FrameTransport& port) {
  if (port.kind() == DeviceKind::tun) return;
  std::array<std::byte, EthernetHeader::size> ethernet;
  EthernetHeader{MacAddress::broadcast(), mac_, ethertype::arp}.emit(ethernet);
  for (const Ipv4Address address : options_.addresses) {
    std::array<std::byte, ArpHeader::size> arp;
    ArpHeader{.sender_mac = mac_, .sender_ip = address, .target_ip = address}.emit(arp);
    const std::array<Bytes, 2> parts{ethernet, arp};
    if (port.write_sequence(parts)) ++statistics_.arp_announcements;
  }
}

void Host::add_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.add_proto(port, endpoint); }
void Host::remove_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.remove_proto(port, endpoint); }

}  // namespace tunport
