// Any IPv6 frames into a host on a TAP port: raw bytes, ICMPv6 with a right checksum, and fragments. Every
// answer is whole and right, from an address of the host, and to no group but for neighbour discovery. Every
// fragment is delivered or counted.
#include <algorithm>
#include <chrono>

#include "tunport/host/host.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/testing/fake_transport.hpp"

#include "input.hpp"
#include "support/ipv6_kit.hpp"

namespace {

using namespace tunport;
using namespace tunport::ipv6_kit;
using fuzz::require;

bool is_ours(const Ipv6Address& address) {
  const auto text = to_string(address);
  return address == host_ip6 || address == neighbor_discovery::link_local(packets::host_mac) ||
         text.starts_with("fd00:1:");
}

void check_answer(const Buffer& frame) {
  DropReason why{};
  const auto ethernet = EthernetView::checked(frame, why);
  require(ethernet && ethernet->source() == packets::host_mac && ethernet->ethertype() == 0x86dd);
  const auto ip = IpView::checked(ethernet->payload(), why);
  require(ip && !ip->is_v4() && is_ours(ip->source().v6()));
  require(ip->bytes().size() == ethernet->payload().size());
  if (ip->is_fragment()) return;
  const auto icmp = Icmpv6View::checked(ip->payload(), ip->source().v6(), ip->destination().v6(), why);
  if (ip->protocol() == ip_protocol::icmpv6) require(icmp.has_value());
  const bool discovers =
      icmp && icmp->type() >= 133 && icmp->type() <= 136 && ip->protocol() == ip_protocol::icmpv6;
  require(discovers == (ip->hop_limit() == 255));
  if (ip->destination().is_multicast() || ethernet->destination().is_multicast()) require(discovers);
  if (icmp && icmp->is_error() && ip->protocol() == ip_protocol::icmpv6) require(ip->bytes().size() <= 1280);
}

Buffer make_packet(fuzz::Input& input) {
  const std::uint8_t choice = input.u8();
  if (choice % 4 == 0) return input.take(input.u16() % 400);
  const Ipv6Address destinations[] = {host_ip6,
                                      "fd00:1::7",
                                      "fd00:1::",
                                      neighbor_discovery::all_nodes(),
                                      neighbor_discovery::all_routers(),
                                      neighbor_discovery::solicited_node(host_ip6),
                                      "fd00::99"};
  const Ipv6Address sources[] = {kernel_ip6, {}, "fe80::1", host_ip6, neighbor_discovery::all_nodes()};
  const Ipv6Address& to = destinations[input.u8() % std::size(destinations)];
  const Ipv6Address& from = sources[input.u8() % std::size(sources)];
  Buffer packet;
  if (choice % 4 == 1) {
    packet = ipv6({.next_header = input.u8(), .hop_limit = input.u8(), .source = from, .destination = to},
                  input.take(input.u16() % 400));
  } else {
    const std::uint8_t types[] = {1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137, input.u8()};
    const Icmpv6Header header{.type = types[input.u8() % std::size(types)],
                              .code = static_cast<std::uint8_t>(input.u8() % 4 == 0 ? input.u8() : 0),
                              .rest = std::uint32_t{input.u16()} << 16 | input.u16()};
    Buffer body = input.take(input.u16() % 400);
    if ((choice & 4) != 0 && body.size() >= 16)
      to.is_multicast() ? host_ip6.store(body, 0) : to.store(body, 0);
    packet = icmpv6_packet(header, body, from, to, (choice & 8) != 0 ? 255 : 64);
  }
  if ((choice & 16) != 0 && packet.size() > 60) {
    const std::size_t at = input.u8() * std::size_t{8} % (packet.size() - 40);
    const std::size_t size = std::min<std::size_t>(input.u8() * std::size_t{8}, packet.size() - 40 - at);
    DropReason why{};
    const auto ip = IpView::checked(packet, why);
    if (ip && !ip->is_fragment() && at + size <= ip->payload().size())
      packet = fragment(packet, at, size, (choice & 32) != 0, input.u8() % 4U);
  }
  if ((choice & 64) != 0 && !packet.empty())
    packet[input.u16() % packet.size()] = static_cast<std::byte>(input.u8());
  return packet;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  Host host{{.addresses = {host_ip6},
             .prefixes = {"fd00:1::/64"},
             .mac = packets::host_mac,
             .subnets = {"fd00::1/64"},
             .advertised = "fd00:2::/64"}};
  UdpEcho echo;
  host.add_udp(7777, echo);
  FakeTransport port;
  port.link_mtu = 1280;
  host.ethernet().connect(port);
  host.announce(port);
  port.clock.advance(std::chrono::seconds{2});
  port.written.clear();
  port.drops = {};
  std::uint64_t in = 0;
  for (int packets = 0; packets < 16 && !input.empty(); ++packets) {
    const Buffer frame = packets::ethernet({.ethertype = 0x86dd}, make_packet(input));
    const std::uint64_t answers = port.written.size() + host.statistics().path_mtu_updates;
    const std::uint64_t whole = host.statistics().reassembled;
    const std::uint64_t drops = port.drops.total();
    port.deliver(host.ethernet(), frame);
    ++in;
    // A fragment that waits is counted later.
    DropReason why{};
    const auto ip = IpView::checked(Bytes{frame}.subspan(14), why);
    const bool waits = ip && ip->is_fragment() && host.statistics().reassembled == whole;
    const std::uint64_t outcomes =
        port.written.size() + host.statistics().path_mtu_updates - answers + (port.drops.total() - drops);
    require(waits || outcomes >= 1);
    port.clock.advance(std::chrono::seconds{input.u8() % 8 == 0 ? 61 : 0});
  }
  host.ethernet().disconnect(port);
  require(port.drops.total() + port.written.size() + host.statistics().path_mtu_updates +
              host.statistics().reassembled * 16 >=
          in);
  for (const Buffer& answer : port.written) check_answer(answer);
  return 0;
}
