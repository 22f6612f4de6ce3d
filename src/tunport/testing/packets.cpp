#include "tunport/testing/packets.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <stdexcept>

namespace tunport::packets {
namespace {

template <class Address>
Address parsed(std::string_view text) {
  if (const auto address = Address::parse(text)) return *address;
  throw std::invalid_argument{"not an address: " + std::string{text}};
}

/// `header_length` bytes for a header, then the payload.
Buffer with_payload(std::size_t header_length, Bytes payload) {
  Buffer out(header_length + payload.size());
  std::copy(payload.begin(), payload.end(), out.begin() + static_cast<std::ptrdiff_t>(header_length));
  return out;
}

void dissect_ipv4(Bytes bytes, Layers& layers) {
  DropReason why{};
  layers.ipv4 = Ipv4View::checked(bytes, why);
  if (!layers.ipv4) {
    layers.broken = why;
    return;
  }
  if (layers.ipv4->is_fragment()) return;
  const Bytes payload = layers.ipv4->payload();
  switch (layers.ipv4->protocol()) {
    case ip_protocol::icmp:
      layers.icmp = IcmpView::checked(payload, why);
      if (!layers.icmp) layers.broken = why;
      break;
    case ip_protocol::udp:
      layers.udp = UdpView::checked(payload, layers.ipv4->source(), layers.ipv4->destination(), why);
      if (!layers.udp) layers.broken = why;
      break;
    case ip_protocol::tcp:
      layers.tcp = TcpView::checked(payload, layers.ipv4->source(), layers.ipv4->destination(), why);
      if (!layers.tcp) layers.broken = why;
      break;
    default:
      break;
  }
}

bool is_known(std::uint16_t type) {
  return type == ethertype::ipv4 || type == ethertype::arp || type == ethertype::ipv6;
}

std::string number(const char* before, std::size_t value) { return before + std::to_string(value); }

std::string describe_icmp(const IcmpView& icmp) {
  const std::string echo = number(" id ", icmp.echo_id()) + number(" sequence ", icmp.echo_sequence());
  switch (icmp.type()) {
    case icmp_type::echo_request:
      return "echo request" + echo;
    case icmp_type::echo_reply:
      return "echo reply" + echo;
    case icmp_type::destination_unreachable:
      if (icmp.code() == icmp_unreachable::port) return "port unreachable";
      if (icmp.code() == icmp_unreachable::protocol) return "protocol unreachable";
      return number("destination unreachable, code ", icmp.code());
    default:
      return number("type ", icmp.type()) + number(" code ", icmp.code());
  }
}

std::string describe_tcp(const TcpView& tcp) {
  std::string text = number("TCP ", tcp.source_port()) + number(" > ", tcp.destination_port());
  const char* separator = " ";
  for (const auto& [flag, name] :
       std::initializer_list<std::pair<std::uint8_t, const char*>>{{tcp_flag::syn, "SYN"},
                                                                   {tcp_flag::fin, "FIN"},
                                                                   {tcp_flag::rst, "RST"},
                                                                   {tcp_flag::psh, "PSH"},
                                                                   {tcp_flag::ack, "ACK"},
                                                                   {tcp_flag::urg, "URG"},
                                                                   {tcp_flag::ece, "ECE"},
                                                                   {tcp_flag::cwr, "CWR"}}) {
    if ((tcp.flags() & flag) == 0) continue;
    text.append(separator).append(name);
    separator = "|";
  }
  return text;
}

std::string describe_ipv4(const Layers& layers) {
  const Ipv4View& ip = *layers.ipv4;
  std::string text = "IPv4 " + to_string(ip.source()) + " > " + to_string(ip.destination());
  if (ip.is_fragment())
    text += number(", fragment at ", ip.fragment_offset());
  else if (layers.icmp)
    text += ", ICMP " + describe_icmp(*layers.icmp);
  else if (layers.udp)
    text += number(", UDP ", layers.udp->source_port()) + number(" > ", layers.udp->destination_port());
  else if (layers.tcp)
    text += ", " + describe_tcp(*layers.tcp);
  else
    text += number(", protocol ", ip.protocol());
  return text;
}

std::string describe_arp(const ArpView& arp) {
  if (arp.operation() == arp_operation::request)
    return "ARP request: who has " + to_string(arp.target_ip()) + ", tell " + to_string(arp.sender_ip());
  if (arp.operation() == arp_operation::reply)
    return "ARP reply: " + to_string(arp.sender_ip()) + " is at " + to_string(arp.sender_mac());
  return number("ARP operation ", arp.operation());
}

}  // namespace

MacAddress mac(std::string_view text) { return parsed<MacAddress>(text); }
Ipv4Address ip(std::string_view text) { return parsed<Ipv4Address>(text); }
Endpoint endpoint(std::string_view text) { return parsed<Endpoint>(text); }

Buffer hex(std::string_view digits) {
  std::string packed;
  for (const char c : digits)
    if (std::isspace(static_cast<unsigned char>(c)) == 0) packed += c;
  Buffer out(packed.size() / 2);
  for (std::size_t i = 0; i < packed.size(); i += 2) {
    std::uint8_t value = 0;
    const char* const end = packed.data() + std::min(i + 2, packed.size());
    const auto [stop, error] = std::from_chars(packed.data() + i, end, value, 16);
    if (error != std::errc{} || stop != packed.data() + i + 2)
      throw std::invalid_argument{"not hex: " + std::string{digits}};
    out[i / 2] = std::byte{value};
  }
  return out;
}

std::string to_hex(Bytes bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += digits[std::to_integer<unsigned>(byte >> 4)];
    text += digits[std::to_integer<unsigned>(byte & std::byte{15})];
  }
  return text;
}

Buffer patched(Content packet, std::size_t offset, Content bytes) {
  const Bytes patch = bytes.bytes();
  Buffer out = with_payload(0, packet.bytes());
  if (offset > out.size() || patch.size() > out.size() - offset)
    throw std::out_of_range{"the patch reaches beyond the packet"};
  std::copy(patch.begin(), patch.end(), out.begin() + static_cast<std::ptrdiff_t>(offset));
  return out;
}

Buffer padded(Content packet, std::size_t size, std::byte fill) {
  Buffer out = with_payload(0, packet.bytes());
  out.resize(std::max(out.size(), size), fill);
  return out;
}

Buffer ethernet(const EthernetFields& fields, Content payload, std::initializer_list<VlanTag> tags) {
  const std::size_t header_length = EthernetHeader::size + tags.size() * VlanTag::size;
  Buffer out = with_payload(header_length, payload.bytes());
  EthernetHeader{fields.destination, fields.source, fields.ethertype}.emit(out);
  // The EtherType moves behind the tags.
  std::size_t at = EthernetHeader::size - 2;
  for (const VlanTag& tag : tags) {
    tag.emit(MutableBytes{out}.subspan(at));
    at += VlanTag::size;
  }
  store_be16(out, at, fields.ethertype);
  return out;
}

Buffer arp(const ArpHeader& fields) {
  Buffer out(ArpHeader::size);
  fields.emit(out);
  return out;
}

Buffer arp_request(Ipv4Address wanted, MacAddress sender_mac, Ipv4Address sender_ip) {
  return ethernet({.destination = MacAddress::broadcast(), .source = sender_mac, .ethertype = ethertype::arp},
                  arp({arp_operation::request, sender_mac, sender_ip, MacAddress{}, wanted}));
}

Buffer arp_reply(Ipv4Address sender_ip, MacAddress sender_mac, Ipv4Address target_ip, MacAddress target_mac) {
  return ethernet({.destination = target_mac, .source = sender_mac, .ethertype = ethertype::arp},
                  arp({arp_operation::reply, sender_mac, sender_ip, target_mac, target_ip}));
}

Buffer ipv4(Ipv4Header header, Content payload) {
  header.payload_length = static_cast<std::uint16_t>(payload.bytes().size());
  Buffer out = with_payload(header.header_length(), payload.bytes());
  header.emit(out);
  return out;
}

Buffer icmp(const IcmpHeader& header, Content payload) {
  Buffer out = with_payload(IcmpHeader::size, payload.bytes());
  header.emit(out, payload.bytes());
  return out;
}

Buffer udp_datagram(const Endpoint& from, const Endpoint& to, Content payload) {
  Buffer out = with_payload(UdpHeader::size, payload.bytes());
  UdpHeader{from.port, to.port}.emit(out, payload.bytes(), from.address, to.address);
  return out;
}

Buffer icmp_echo(const EchoFields& fields, Content payload) {
  return ipv4(
      {.protocol = ip_protocol::icmp, .source = fields.source, .destination = fields.destination},
      icmp({.type = fields.type, .rest = IcmpHeader::echo_rest(fields.id, fields.sequence)}, payload));
}

Buffer udp(const Endpoint& from, const Endpoint& to, Content payload) {
  return ipv4({.protocol = ip_protocol::udp, .source = from.address.v4(), .destination = to.address.v4()},
              udp_datagram(from, to, payload));
}

Buffer udp(std::string_view from, std::string_view to, Content payload) {
  return udp(endpoint(from), endpoint(to), payload);
}

Buffer tcp(std::string_view from, std::string_view to, TcpHeader fields, Content payload) {
  const Endpoint source = endpoint(from);
  const Endpoint destination = endpoint(to);
  fields.source_port = source.port;
  fields.destination_port = destination.port;
  Buffer segment = with_payload(fields.header_length(), payload.bytes());
  fields.emit(segment, payload.bytes(), source.address, destination.address);
  return ipv4(
      {.protocol = ip_protocol::tcp, .source = source.address.v4(), .destination = destination.address.v4()},
      segment);
}

Bytes Layers::payload() const {
  if (tcp) return tcp->payload();
  if (udp) return udp->payload();
  if (icmp) return icmp->payload();
  if (ipv4) return ipv4->payload();
  if (arp) return {};
  if (ethernet) return ethernet->payload();
  return whole;
}

Layers dissect(Bytes packet) {
  Layers layers;
  layers.whole = packet;
  DropReason why{};
  const bool is_ipv4 = Ipv4View::checked(packet, why).has_value();
  const auto frame = EthernetView::checked(packet, why);
  const unsigned version = packet.empty() ? 0 : load_u8(packet, 0) >> 4;
  const bool looks_like_ip = (version == 4 || version == 6) && !(frame && is_known(frame->ethertype()));
  if (is_ipv4 || looks_like_ip) {
    if (version == 4) dissect_ipv4(packet, layers);
    return layers;
  }
  layers.ethernet = frame;
  if (!frame) {
    layers.broken = why;
  } else if (frame->ethertype() == ethertype::ipv4) {
    dissect_ipv4(frame->payload(), layers);
  } else if (frame->ethertype() == ethertype::arp) {
    layers.arp = ArpView::checked(frame->payload(), why);
    if (!layers.arp) layers.broken = why;
  }
  return layers;
}

std::string describe(Bytes packet) {
  const Layers layers = dissect(packet);
  std::string text;
  const auto say = [&text](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  if (layers.ethernet) {
    say(to_string(layers.ethernet->source()) + " > " + to_string(layers.ethernet->destination()));
    for (std::size_t i = 0; i < layers.ethernet->tag_count(); ++i)
      say(number("VLAN ", layers.ethernet->tag(i).vid));
    if (const std::uint16_t type = layers.ethernet->ethertype(); !is_known(type)) {
      std::array<std::byte, 2> wire{};
      store_be16(wire, 0, type);
      say("EtherType 0x" + to_hex(wire));
    }
  }
  if (layers.ipv4) say(describe_ipv4(layers));
  if (layers.arp)
    say(describe_arp(*layers.arp));
  else
    say(number("", layers.payload().size()) + " bytes");
  if (layers.broken) say("broken: " + std::string{to_string(*layers.broken)});
  return text;
}

}  // namespace tunport::packets
