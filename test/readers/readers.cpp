// The fields of packets as the views of wire/ read them, and packets as its headers write them: for a
// comparison with other readers (readers_test.py).
//
//   tunport_readers read < HEX        a line of fields for each line of hex, an Ethernet frame
//   tunport_readers write SEED COUNT  COUNT lines: the hex of a frame, and the fields that it was written
//   with
#include <iostream>
#include <random>
#include <string>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/dhcp_internal.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ip.hpp"
#include "tunport/wire/neighbor_discovery_internal.hpp"

namespace tunport {
namespace {

using packets::Buffer;

/// Fields in a line: "eth.type=2048 ip.ttl=64".
class Fields {
 public:
  void clear() { line_.clear(); }
  Fields& put(const char* name, const std::string& value) {
    if (!line_.empty()) line_ += ' ';
    line_.append(name).append("=").append(value);
    return *this;
  }
  Fields& put(const char* name, const char* value) { return put(name, std::string{value}); }
  Fields& put(const char* name, std::uint64_t value) { return put(name, std::to_string(value)); }
  Fields& put(const char* name, bool value) { return put(name, std::uint64_t{value}); }
  Fields& put(const char* name, Bytes value) { return put(name, packets::to_hex(value)); }
  Fields& put(const char* name, const MacAddress& value) { return put(name, to_string(value)); }
  Fields& put(const char* name, const Ipv4Address& value) { return put(name, to_string(value)); }
  Fields& put(const char* name, const Ipv6Address& value) { return put(name, to_string(value)); }
  Fields& put(const char* name, const IpAddress& value) { return put(name, to_string(value)); }
  void put_drop(DropReason why) { put("drop", std::string{to_string(why)}); }
  const std::string& text() const { return line_; }

 private:
  std::string line_;
};

void read_arp(Bytes bytes, Fields& out) {
  DropReason why{};
  const auto arp = ArpView::checked(bytes, why);
  if (!arp) return out.put_drop(why);
  out.put("arp.op", std::uint64_t{arp->operation()})
      .put("arp.hwsrc", arp->sender_mac())
      .put("arp.psrc", arp->sender_ip())
      .put("arp.hwdst", arp->target_mac())
      .put("arp.pdst", arp->target_ip());
}

void put_dhcp(const dhcp::Request& request, Fields& out) {
  out.put("dhcp.kind", static_cast<std::uint64_t>(request.kind))
      .put("dhcp.xid", std::uint64_t{request.transaction})
      .put("dhcp.flags", std::uint64_t{request.flags})
      .put("dhcp.ciaddr", request.client)
      .put("dhcp.giaddr", request.relay)
      .put("dhcp.mac", request.mac);
  if (request.requested) out.put("dhcp.requested", *request.requested);
  if (request.server) out.put("dhcp.server", *request.server);
}

void read_udp(const IpView& ip, Fields& out) {
  DropReason why{};
  const auto udp = UdpView::checked(ip.payload(), ip.source(), ip.destination(), why);
  if (!udp) return out.put_drop(why);
  out.put("udp.sport", std::uint64_t{udp->source_port()})
      .put("udp.dport", std::uint64_t{udp->destination_port()})
      .put("udp.len", std::uint64_t{udp->length()})
      .put("udp.payload", udp->payload());
  if (udp->destination_port() != dhcp::server_port) return;
  if (const auto request = dhcp::Request::parse(udp->payload())) put_dhcp(*request, out);
}

void put_tcp(const TcpView& tcp, Fields& out) {
  out.put("tcp.sport", std::uint64_t{tcp.source_port()})
      .put("tcp.dport", std::uint64_t{tcp.destination_port()})
      .put("tcp.seq", std::uint64_t{tcp.sequence()})
      .put("tcp.ack", std::uint64_t{tcp.acknowledgment()})
      .put("tcp.hl", std::uint64_t{tcp.header_length()})
      .put("tcp.flags", std::uint64_t{tcp.flags()})
      .put("tcp.window", std::uint64_t{tcp.window()})
      .put("tcp.urgent", std::uint64_t{tcp.urgent_pointer()})
      .put("tcp.options", tcp.options())
      .put("tcp.payload", tcp.payload());
}

void read_icmp(const IpView& ip, Fields& out) {
  DropReason why{};
  const auto icmp = IcmpView::checked(ip.payload(), why);
  if (!icmp) return out.put_drop(why);
  out.put("icmp.type", std::uint64_t{icmp->type()}).put("icmp.code", std::uint64_t{icmp->code()});
  if (icmp->type() == icmp_type::echo_request || icmp->type() == icmp_type::echo_reply)
    out.put("icmp.id", std::uint64_t{icmp->echo_id()}).put("icmp.seq", std::uint64_t{icmp->echo_sequence()});
  else
    out.put("icmp.is_error", icmp->is_error());
  if (icmp->type() == icmp_type::destination_unreachable &&
      icmp->code() == icmp_unreachable::fragmentation_needed)
    out.put("icmp.mtu", std::uint64_t{icmp->rest() & 0xffff});
  out.put("icmp.payload", icmp->payload());
}

void read_neighbor_discovery(const Icmpv6View& icmp, const IpView& ip, Fields& out) {
  using neighbor_discovery::Message;
  const auto message = Message::checked(icmp, ip);
  if (!message) return;
  if (message->type != icmpv6_type::router_solicitation) out.put("nd.target", message->target);
  if (message->type == icmpv6_type::neighbor_advertisement)
    out.put("nd.router", (message->rest & neighbor_discovery::router_flag) != 0)
        .put("nd.solicited", (message->rest & neighbor_discovery::solicited_flag) != 0)
        .put("nd.override", (message->rest & neighbor_discovery::override_flag) != 0);
  if (message->source_mac) out.put("nd.source_mac", *message->source_mac);
  if (message->target_mac) out.put("nd.target_mac", *message->target_mac);
}

void read_icmpv6(const IpView& ip, Fields& out) {
  DropReason why{};
  const auto icmp = Icmpv6View::checked(ip.payload(), ip.source().v6(), ip.destination().v6(), why);
  if (!icmp) return out.put_drop(why);
  out.put("icmp6.type", std::uint64_t{icmp->type()}).put("icmp6.code", std::uint64_t{icmp->code()});
  switch (icmp->type()) {
    case icmpv6_type::echo_request:
    case icmpv6_type::echo_reply:
      out.put("icmp6.id", std::uint64_t{icmp->rest() >> 16})
          .put("icmp6.seq", std::uint64_t{icmp->rest() & 0xffff});
      break;
    case icmpv6_type::packet_too_big:
      out.put("icmp6.mtu", std::uint64_t{icmp->rest()});
      break;
    case icmpv6_type::parameter_problem:
      out.put("icmp6.pointer", std::uint64_t{icmp->rest()});
      break;
    default:
      break;
  }
  out.put("icmp6.payload", icmp->payload());
  read_neighbor_discovery(*icmp, ip, out);
}

void read_ip(Bytes bytes, Fields& out) {
  DropReason why{};
  const auto ip = IpView::checked(bytes, why);
  if (ip && ip->is_v4()) {
    const Ipv4View v4 = Ipv4View::checked(bytes, why).value();
    out.put("ip.hl", std::uint64_t{v4.header_length()})
        .put("ip.tos", std::uint64_t{v4.tos()})
        .put("ip.dscp", std::uint64_t{v4.dscp()})
        .put("ip.ecn", std::uint64_t{v4.ecn()})
        .put("ip.len", std::uint64_t{v4.total_length()})
        .put("ip.id", std::uint64_t{v4.identification()})
        .put("ip.df", v4.dont_fragment())
        .put("ip.mf", v4.more_fragments())
        .put("ip.offset", std::uint64_t{v4.fragment_offset()})
        .put("ip.ttl", std::uint64_t{v4.ttl()})
        .put("ip.proto", std::uint64_t{v4.protocol()})
        .put("ip.src", v4.source())
        .put("ip.dst", v4.destination())
        .put("ip.options", v4.options());
  } else if (const auto v6 = Ipv6View::checked(bytes, why)) {
    out.put("ip6.tc", std::uint64_t{v6->traffic_class()})
        .put("ip6.flow", std::uint64_t{v6->flow_label()})
        .put("ip6.plen", std::uint64_t{v6->payload().size()})
        .put("ip6.nh", std::uint64_t{v6->next_header()})
        .put("ip6.hlim", std::uint64_t{v6->hop_limit()})
        .put("ip6.src", v6->source())
        .put("ip6.dst", v6->destination());
  }
  if (!ip) {
    IpView::checked(bytes, why);
    return out.put_drop(why);
  }
  if (ip->is_v4()) {
    // The common view has the same fields.
    if (ip->traffic_class() != load_u8(bytes, 1) ||
        ip->options().size() != ip->header().size() - Ipv4Header::size)
      out.put("fault", "the views differ");
  } else if (ip->is_fragment()) {
    const IpFragment part = ip->fragment();
    out.put("ip6.frag.id", std::uint64_t{part.identification})
        .put("ip6.frag.offset", std::uint64_t{part.offset})
        .put("ip6.frag.more", part.more)
        .put("ip6.frag.nh", std::uint64_t{part.protocol});
  } else {
    out.put("ip6.upper", std::uint64_t{ip->protocol()});
  }
  out.put("ip.payload", ip->payload());
  if (ip->is_fragment()) return;
  if (ip->protocol() == ip_protocol::udp) return read_udp(*ip, out);
  if (ip->protocol() == ip_protocol::tcp) {
    const auto tcp = TcpView::checked(ip->payload(), ip->source(), ip->destination(), why);
    return tcp ? put_tcp(*tcp, out) : out.put_drop(why);
  }
  if (ip->is_v4() && ip->protocol() == ip_protocol::icmp) return read_icmp(*ip, out);
  if (!ip->is_v4() && ip->protocol() == ip_protocol::icmpv6) return read_icmpv6(*ip, out);
}

std::string read(Bytes frame) {
  Fields out;
  DropReason why{};
  const auto ethernet = EthernetView::checked(frame, why);
  if (!ethernet) {
    out.put_drop(why);
    return out.text();
  }
  out.put("eth.dst", ethernet->destination()).put("eth.src", ethernet->source());
  std::string tags;
  for (std::size_t i = 0; i < ethernet->tag_count(); ++i) {
    const VlanTag tag = ethernet->tag(i);
    tags += (i == 0 ? "" : ",") + std::to_string(tag.tpid) + '/' + std::to_string(tag.priority) + '/' +
            std::to_string(int{tag.drop_eligible}) + '/' + std::to_string(tag.vid);
  }
  if (!tags.empty()) out.put("vlan", tags);
  out.put("eth.type", std::uint64_t{ethernet->ethertype()});
  if (ethernet->ethertype() == ethertype::arp)
    read_arp(ethernet->payload(), out);
  else if (ethernet->ethertype() == ethertype::ipv4 || ethernet->ethertype() == ethertype::ipv6)
    read_ip(ethernet->payload(), out);
  return out.text();
}

/// Frames written by the headers of wire/, with random fields.
class Writer {
 public:
  explicit Writer(std::uint32_t seed) : random_{seed} {}

  /// A frame, and the fields of messages without a view.
  std::pair<Buffer, std::string> next() {
    meant_.clear();
    const Buffer packet = below(2) == 0 ? v4() : v6();
    const bool is_v4 = std::to_integer<int>(packet[0]) >> 4 == 4;
    Buffer frame(EthernetHeader::size);
    EthernetHeader{mac(), mac(), is_v4 ? ethertype::ipv4 : ethertype::ipv6}.emit(frame);
    frame.insert(frame.end(), packet.begin(), packet.end());
    return {frame, meant_.text()};
  }

 private:
  std::uint32_t number() { return static_cast<std::uint32_t>(random_()); }
  std::uint32_t below(std::uint32_t limit) { return number() % limit; }
  std::uint8_t octet() { return static_cast<std::uint8_t>(number()); }
  std::uint16_t word() { return static_cast<std::uint16_t>(number()); }
  Buffer bytes(std::size_t size) {
    Buffer all(size);
    for (auto& byte : all) byte = std::byte{octet()};
    return all;
  }
  MacAddress mac() { return MacAddress{{2, octet(), octet(), octet(), octet(), octet()}}; }
  Ipv4Address address4() { return Ipv4Address{0x0a000000U | below(1U << 24)}; }
  Ipv6Address address6() {
    std::array<std::uint8_t, 16> octets{0xfd};
    for (std::size_t i = 1; i < 16; ++i) octets[i] = below(2) == 0 ? 0 : octet();
    return Ipv6Address{octets};
  }

  /// The payload of either version; the protocol in `protocol`.
  Buffer transport(const IpAddress& from, const IpAddress& to, std::uint8_t& protocol) {
    const Buffer data = bytes(below(60));
    Buffer out;
    if (below(2) == 0) {
      protocol = ip_protocol::udp;
      out.resize(UdpHeader::size);
      UdpHeader{static_cast<std::uint16_t>(40'000 + below(20'000)), 9}.emit(out, data, from, to);
    } else {
      protocol = ip_protocol::tcp;
      const Buffer options(4 * below(11), std::byte{1});
      out.resize(TcpHeader::size + options.size());
      TcpHeader{.source_port = word(),
                .destination_port = 9,
                .sequence = number(),
                .acknowledgment = number(),
                .flags = octet(),
                .window = word(),
                .urgent_pointer = word(),
                .options = options}
          .emit(out, data, from, to);
    }
    out.insert(out.end(), data.begin(), data.end());
    return out;
  }

  Buffer dhcp_answer(const IpAddress& from, const IpAddress& to) {
    const dhcp::Request request{.transaction = number(),
                                .flags = static_cast<std::uint16_t>(below(2) << 15),
                                .client = address4(),
                                .mac = mac()};
    dhcp::Answer answer{.kind = below(2) == 0 ? dhcp::Kind::offer : dhcp::Kind::ack,
                        .address = address4(),
                        .server = address4(),
                        .lease = 1 + below(1'000'000),
                        .prefix_length = below(33),
                        .router = address4(),
                        .name_server = address4()};
    const auto message = answer.emit(request);
    put_dhcp({.kind = answer.kind,
              .transaction = request.transaction,
              .flags = request.flags,
              .client = request.client,
              .mac = request.mac,
              .server = answer.server},
             meant_);
    meant_.put("dhcp.yiaddr", answer.address)
        .put("dhcp.lease", std::uint64_t{answer.lease})
        .put("dhcp.mask", Ipv4Address{*answer.prefix_length == 0 ? 0 : ~0U << (32 - *answer.prefix_length)})
        .put("dhcp.router", *answer.router)
        .put("dhcp.dns", *answer.name_server);
    Buffer out(UdpHeader::size);
    UdpHeader{dhcp::server_port, dhcp::client_port}.emit(out, message, from, to);
    out.insert(out.end(), message.begin(), message.end());
    return out;
  }

  Buffer v4() {
    const Ipv4Address source = address4();
    const Ipv4Address destination = address4();
    Ipv4Header header{.tos = octet(),
                      .identification = word(),
                      .dont_fragment = below(2) == 0,
                      .ttl = octet(),
                      .source = source,
                      .destination = destination};
    const Buffer options(4 * below(11), std::byte{1});
    header.options = options;
    switch (below(5)) {
      case 0: {
        header.protocol = ip_protocol::icmp;
        const bool unreachable = below(2) == 0;
        return packets::ipv4(
            header,
            packets::icmp(
                {.type = unreachable ? icmp_type::destination_unreachable : icmp_type::echo_request,
                 .code = unreachable ? icmp_unreachable::fragmentation_needed : std::uint8_t{0},
                 .rest = unreachable ? below(1U << 16) : number()},
                unreachable ? packets::udp("10.0.0.1:1", "10.0.0.2:2", bytes(20)) : bytes(below(60))));
      }
      case 1:
        header.protocol = ip_protocol::udp;
        return packets::ipv4(header, dhcp_answer(source, destination));
      case 2:  // a fragment
        header.protocol = ip_protocol::udp;
        header.dont_fragment = false;
        header.fragment_offset = static_cast<std::uint16_t>(8 * (1 + below(8000)));
        header.more_fragments = below(2) == 0;
        return packets::ipv4(header, bytes(8 * (1 + below(9))));
      default: {
        const Buffer payload = transport(source, destination, header.protocol);
        return packets::ipv4(header, payload);
      }
    }
  }

  Buffer icmpv6(const Ipv6Address& from, const Ipv6Address& to) {
    using namespace neighbor_discovery;
    Icmpv6Header header;
    Body body;
    switch (below(4)) {
      case 0:
        header = {.type = icmpv6_type::neighbor_solicitation};
        body.add(address6()).add(source_link_layer_address, mac());
        break;
      case 1:
        header = {.type = icmpv6_type::neighbor_advertisement, .rest = below(8) << 29};
        body.add(address6()).add(target_link_layer_address, mac());
        break;
      case 2: {
        header = {.type = icmpv6_type::router_advertisement, .rest = number()};
        const MacAddress router = mac();
        const IpPrefix prefix{address6(), 1 + below(128)};
        const std::uint32_t preferred = number();
        const std::uint32_t valid = number();
        const std::uint32_t mtu = number();
        body.add_router_times()
            .add(source_link_layer_address, router)
            .add_prefix(prefix, valid, preferred)
            .add_mtu(mtu);
        meant_.put("ra.hops", std::uint64_t{header.rest >> 24})
            .put("ra.lifetime", std::uint64_t{header.rest & 0xffff})
            .put("ra.mac", router)
            .put("ra.prefix", prefix.address)
            .put("ra.prefix_length", std::uint64_t{prefix.length})
            .put("ra.valid", std::uint64_t{valid})
            .put("ra.preferred", std::uint64_t{preferred})
            .put("ra.mtu", std::uint64_t{mtu});
        break;
      }
      default:
        header = {.type = icmpv6_type::echo_request, .rest = number()};
        body.add(address6());
    }
    Buffer out(Icmpv6Header::size);
    header.emit(out, body.bytes(), from, to);
    out.insert(out.end(), body.bytes().begin(), body.bytes().end());
    return out;
  }

  Buffer v6() {
    Ipv6Header header{.traffic_class = octet(),
                      .flow_label = below(1U << 20),
                      .hop_limit = octet(),
                      .source = address6(),
                      .destination = address6()};
    Buffer payload;
    if (below(2) == 0) {
      header.next_header = ip_protocol::icmpv6;
      header.hop_limit = 255;
      payload = icmpv6(header.source, header.destination);
    } else {
      payload = transport(header.source, header.destination, header.next_header);
    }
    header.payload_length = static_cast<std::uint16_t>(payload.size());
    Buffer out(Ipv6Header::size);
    header.emit(out);
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
  }

  std::mt19937 random_;
  Fields meant_;
};

int run(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "read" && argc == 2) {
    for (std::string line; std::getline(std::cin, line);) std::cout << read(packets::hex(line)) << '\n';
    return 0;
  }
  if (verb == "write" && argc == 4) {
    Writer writer{static_cast<std::uint32_t>(std::stoul(argv[2]))};
    for (unsigned long left = std::stoul(argv[3]); left > 0; --left) {
      const auto [frame, meant] = writer.next();
      std::cout << packets::to_hex(frame) << ' ' << read(frame) << (meant.empty() ? "" : " ") << meant
                << '\n';
    }
    return 0;
  }
  std::cerr << "usage: tunport_readers read < HEX | write SEED COUNT\n";
  return 2;
}

}  // namespace
}  // namespace tunport

int main(int argc, char** argv) { return tunport::run(argc, argv); }
