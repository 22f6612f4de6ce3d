#include "tunport/host/host.hpp"

#include <algorithm>
#include <array>

#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/icmp.hpp"

namespace tunport {
namespace {

bool is_one_of(const std::vector<Ipv4Address>& addresses, Ipv4Address address) {
  return std::ranges::find(addresses, address) != addresses.end();
}

/// RFC 1122 3.2.1.3: what may be a source. 240/4 is nobody's (RFC 1112 4).
bool is_single_host(const HostOptions& host, Ipv4Address address) {
  if (address.value() >> 24 == 0 || address.is_loopback() || address.is_multicast() ||
      address.value() >> 28 == 0xf)
    return false;
  return std::ranges::none_of(host.subnets, [&](const IpPrefix& subnet) {
    return subnet.address.is_v4() && subnet.length < 31 &&
           (address == subnet.broadcast_v4() || address == subnet.network_v4());
  });
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
    if (arp->operation() != arp_operation::request || !is_one_of(host_.options_.addresses, arp->target_ip()))
      return drop(DropReason::arp_not_for_us);
    // Somebody who claims our address, or a group's: nobody to answer. A probe comes from no address (RFC
    // 5227).
    const Ipv4Address sender = arp->sender_ip();
    if (arp->sender_mac().is_multicast() || is_one_of(host_.options_.addresses, sender) ||
        (!sender.is_unspecified() && !is_single_host(host_.options_, sender)))
      return drop(DropReason::answer_not_allowed);
    const ArpHeader answer{.operation = arp_operation::reply,
                           .sender_mac = host_.options_.mac,
                           .sender_ip = arp->target_ip(),
                           .target_mac = arp->sender_mac(),
                           .target_ip = sender};
    std::array<std::byte, ArpHeader::size> bytes;
    answer.emit(bytes);
    const Bytes part = bytes;
    if (arrival.reply({&part, 1})) ++host_.statistics_.arp_replies;
  }

 private:
  Host& host_;
};

class Host::Ip : public IpDemux {
 public:
  explicit Ip(Host& host) : host_{host} {}
  std::string name() const override { return "Host"; }

 protected:
  std::optional<DropReason> screen(const IpDatagram& datagram) override {
    if (!is_one_of(host_.options_.addresses, datagram.ip.destination())) return DropReason::ip_wrong_address;
    if (const auto source = datagram.ip.source();
        !is_single_host(host_.options_, source) || is_one_of(host_.options_.addresses, source))
      return DropReason::ip_bad_source;
    if (datagram.arrival.is_link_broadcast()) return DropReason::answer_not_allowed;
    return std::nullopt;
  }

 private:
  Host& host_;
};

class Host::Icmp : public TransportProtocol {
 public:
  explicit Icmp(Host& host) : host_{host} {}

  void datagram_received(const IpDatagram& datagram) override {
    DropReason why{};
    const auto icmp = IcmpView::checked(datagram.payload(), why);
    if (!icmp) return datagram.arrival.transport.drop(why);
    if (icmp->type() != icmp_type::echo_request || icmp->code() != 0)
      return datagram.arrival.transport.drop(DropReason::icmp_unhandled);
    const IcmpHeader answer{.type = icmp_type::echo_reply, .rest = icmp->rest()};
    if (send(datagram, answer, icmp->payload())) ++host_.statistics_.icmp_echo_replies;
  }

  static WriteResult send(const IpDatagram& to, const IcmpHeader& header, Bytes payload) {
    std::array<std::byte, IcmpHeader::size> bytes;
    header.emit(bytes, payload);
    const std::array<Bytes, 2> parts{bytes, payload};
    return to.reply(ip_protocol::icmp, parts);
  }

 private:
  Host& host_;
};

class Host::Udp : public UdpDemux {
 public:
  explicit Udp(Host& host)
      : host_{host}, errors_{host.options_.errors_per_second, host.options_.errors_at_once} {}

 protected:
  /// The screen has already kept out what RFC 1122 3.2.2 forbids to answer: groups, and sources that are no
  /// single host; fragments do not get here, and UDP is no ICMP error.
  void nobody_home(const UdpView& udp, const IpDatagram& datagram) override {
    FrameTransport& port = datagram.arrival.transport;
    if (!errors_.take(port.reactor().now())) return port.drop(DropReason::rate_limited);
    // Quoted as it was sent (RFC 1122 3.2.2): the checksum that the kernel left to fill is filled in place.
    datagram.arrival.packet.for_each_plain([](const Packet&) {});
    // As much of it as fits into what every host takes (RFC 1812 4.3.2.3).
    constexpr std::size_t most = 576 - Ipv4Header::size - IcmpHeader::size;
    const Bytes original = datagram.ip.bytes();
    const IcmpHeader error{.type = icmp_type::destination_unreachable, .code = icmp_unreachable::port};
    // A refused answer is counted by whoever refused it.
    if (!Icmp::send(datagram, error, original.first(std::min(most, original.size())))) return;
    ++host_.statistics_.port_unreachable;
    // The answer may have paused a producer, which may have destroyed the port.
    if (!datagram.arrival.packet.is_port_gone()) UdpDemux::nobody_home(udp, datagram);
  }

 private:
  Host& host_;
  TokenBucket errors_;
};

struct Host::Rooms {
  explicit Rooms(Host& host) : ethernet{host.options_.mac}, arp{host}, ip{host}, icmp{host}, udp{host} {
    ip.add_proto(ip_protocol::icmp, icmp);
    ip.add_proto(ip_protocol::udp, udp);
    ethernet.add_proto(ethertype::arp, arp);
    ethernet.add_proto(ethertype::ipv4, ip);
  }

  struct Ethernet : EthernetDemux {
    explicit Ethernet(const MacAddress& mac) : EthernetDemux{{.address = mac}} {}
    std::string name() const override { return "Host"; }
  };

  Ethernet ethernet;
  Arp arp;
  Ip ip;
  Icmp icmp;
  Udp udp;
};

Host::Host(HostOptions options) : options_{std::move(options)}, rooms_{std::make_unique<Rooms>(*this)} {}
Host::~Host() = default;

EthernetFrameProtocol& Host::ethernet() { return rooms_->ethernet; }
IpPacketProtocol& Host::ip() { return rooms_->ip; }
FrameProtocol& Host::protocol(DeviceKind kind) {
  if (kind == DeviceKind::tap) return ethernet();
  return ip();
}

void Host::add_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.add_proto(port, endpoint); }
void Host::remove_udp(int port, DatagramProtocol& endpoint) { rooms_->udp.remove_proto(port, endpoint); }

}  // namespace tunport
