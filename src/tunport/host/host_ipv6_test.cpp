/// The IPv6 of a host: neighbour discovery, echoes, refusals; and every address of a prefix.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/base/log.hpp"
#include "tunport/protocol/ip_demux.hpp"

#include "support/host_kit.hpp"
#include "support/ipv6_kit.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace ipv6_kit;
using namespace neighbor_discovery;
using packets::host_mac;
using packets::kernel_mac;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

const Ipv6Address host_local = link_local(host_mac);

/// The parts of a frame with ICMPv6.
struct Seen {
  explicit Seen(const Buffer& frame) : bytes{frame} {
    DropReason why{};
    ethernet = EthernetView::checked(bytes, why);
    ip = IpView::checked(ethernet->payload(), why);
    if (!ip || ip->is_v4()) return;
    icmp = Icmpv6View::checked(ip->payload(), ip->source().v6(), ip->destination().v6(), why);
  }
  std::uint8_t type() const { return icmp ? icmp->type() : 0; }
  std::optional<Message> message() const { return Message::checked(*icmp, *ip); }

  Buffer bytes;
  std::optional<EthernetView> ethernet;
  std::optional<IpView> ip;
  std::optional<Icmpv6View> icmp;
};

class HostIpv6 : public testing::Test {
 protected:
  HostIpv6() {
    set_log_sink([this](LogLevel, std::string_view, std::string_view text) { said += text; });
    host.add_udp(42, echo);
    host.ethernet().connect(tap);
    host.announce(tap);
  }
  ~HostIpv6() override {
    host.ethernet().disconnect(tap);
    set_log_sink({});
  }
  void settle() {
    tap.clock.advance(2s);
    tap.written.clear();
  }
  void deliver(const Buffer& frame) { tap.deliver(host.ethernet(), frame); }
  void deliver_ip(const Buffer& packet) {
    deliver(packets::ethernet({.ethertype = ethertype::ipv6}, packet));
  }
  std::vector<Seen> seen() {
    std::vector<Seen> all;
    for (const Buffer& frame : std::exchange(tap.written, {})) all.emplace_back(frame);
    return all;
  }
  void expect_dropped(DropReason reason, const char* what = "") {
    EXPECT_THAT(tap.written, IsEmpty()) << what;
    EXPECT_EQ(tap.drops[reason], 1U) << what;
    EXPECT_EQ(tap.drops.total(), 1U) << what;
    tap.drops = {};
    tap.written.clear();
  }

  std::string said;
  UdpEcho echo;
  FakeTransport tap;
  Host host{{.addresses = {"10.0.0.2", "fd00::2"},
             .prefixes = {"10.1.0.0/16", "fd00:1::/64"},
             .mac = host_mac,
             .subnets = {"10.0.0.1/24", "10.1.0.9/16", "fd00::1/64", "fd00:1::9/64"},
             .advertised = "fd00:2::/64"}};
};

TEST_F(HostIpv6, ProbesItsAddressesAndThenAdvertisesThem) {
  auto probes = seen();
  ASSERT_THAT(probes, SizeIs(3)) << "ARP, and two probes";
  for (std::size_t i = 1; i < 3; ++i) {
    ASSERT_EQ(probes[i].type(), icmpv6_type::neighbor_solicitation);
    const Ipv6Address target = i == 1 ? host_local : host_ip6;
    EXPECT_EQ(probes[i].message()->target, target);
    EXPECT_EQ(probes[i].ip->source(), Ipv6Address{});
    EXPECT_EQ(probes[i].ip->destination(), solicited_node(target));
    EXPECT_EQ(probes[i].ethernet->destination(), group_mac(solicited_node(target)));
  }
  deliver(solicitation(host_ip6));
  expect_dropped(DropReason::answer_not_allowed, "not ours yet");
  EXPECT_FALSE(host.addresses_are_settled());
  tap.clock.advance(1s);
  EXPECT_TRUE(host.addresses_are_settled());
  const auto unasked = seen();
  ASSERT_THAT(unasked, SizeIs(3)) << "two advertisements of addresses, one of the prefix";
  EXPECT_EQ(unasked[0].message()->target, host_local);
  EXPECT_EQ(unasked[1].message()->target, host_ip6);
  EXPECT_EQ(unasked[1].message()->target_mac, host_mac);
  EXPECT_EQ(unasked[1].message()->rest, override_flag);
  EXPECT_EQ(unasked[1].ip->destination(), all_nodes());
  EXPECT_EQ(unasked[2].type(), icmpv6_type::router_advertisement);
  EXPECT_EQ(unasked[2].ip->source(), host_local) << "RFC 4861 6.1.2";
  EXPECT_EQ(host.statistics().neighbor_solicitations, 2U);
  EXPECT_EQ(host.statistics().neighbor_advertisements, 2U);
  EXPECT_EQ(host.statistics().router_advertisements, 1U);
  tap.clock.advance(5min);
  EXPECT_EQ(host.statistics().router_advertisements, 2U);
}

TEST_F(HostIpv6, DoesWithoutADuplicate) {
  deliver(advertisement(host_ip6, kernel_mac, all_nodes(), override_flag));
  tap.drops = {};
  EXPECT_EQ(said, "another station has the address fd00::2: the host does without");
  settle();
  deliver(solicitation(host_ip6));
  expect_dropped(DropReason::arp_not_for_us);
  deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, {}));
  expect_dropped(DropReason::ip_wrong_address);
  EXPECT_EQ(host.statistics().duplicate_addresses, 1U);
}

TEST_F(HostIpv6, TwoThatProbeForTheSameAddressDoBothWithout) {
  deliver(solicitation(host_ip6, {}));
  tap.drops = {};
  settle();
  deliver(solicitation(host_ip6));
  expect_dropped(DropReason::arp_not_for_us);
}

TEST_F(HostIpv6, AnswersSolicitations) {
  settle();
  deliver(solicitation(host_ip6));
  const auto answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  const Seen& answer = answers.front();
  EXPECT_EQ(answer.message()->target, host_ip6);
  EXPECT_EQ(answer.message()->target_mac, host_mac);
  EXPECT_EQ(answer.message()->rest, solicited_flag | override_flag);
  EXPECT_EQ(answer.ip->source(), host_ip6);
  EXPECT_EQ(answer.ip->destination(), kernel_ip6);
  EXPECT_EQ(answer.ip->hop_limit(), 255);
  EXPECT_EQ(answer.ethernet->destination(), kernel_mac);
  deliver(solicitation(host_ip6, {}));
  const auto defended = seen();
  ASSERT_THAT(defended, SizeIs(1));
  EXPECT_EQ(defended[0].ip->destination(), all_nodes()) << "a probe of another station";
  EXPECT_EQ(defended[0].message()->rest, override_flag);
  EXPECT_EQ(tap.drops.total(), 0U);
}

TEST_F(HostIpv6, HasEveryAddressOfAPrefixButDoesNotDefendIt) {
  settle();
  for (const char* address : {"fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff"}) {
    const Ipv6Address target = Ipv6Address::parse(address).value();
    deliver(solicitation(target));
    EXPECT_THAT(seen(), SizeIs(1)) << address;
    deliver(solicitation(target, {}));
    expect_dropped(DropReason::arp_not_for_us, "a probe");
    deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, {}, kernel_ip6, target));
    EXPECT_THAT(seen(), SizeIs(1)) << address;
  }
  for (const char* address : {"fd00:1::", "fd00:1::9", "fd00:3::1"}) {
    const Ipv6Address target = Ipv6Address::parse(address).value();
    deliver(solicitation(target));
    expect_dropped(DropReason::arp_not_for_us, address);
    deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, {}, kernel_ip6, target));
    expect_dropped(DropReason::ip_wrong_address, address);
  }
  for (const char* address : {"10.1.0.1", "10.1.255.254"}) {
    const Ipv4Address target = Ipv4Address::parse(address).value();
    deliver(packets::arp_request(target));
    EXPECT_THAT(std::exchange(tap.written, {}), SizeIs(1)) << address;
    deliver(packets::arp_request(target, kernel_mac, Ipv4Address{}));
    expect_dropped(DropReason::arp_not_for_us, "a probe");
    deliver(packets::ethernet({}, packets::icmp_echo({.destination = target})));
    EXPECT_THAT(std::exchange(tap.written, {}), SizeIs(1)) << address;
  }
  for (const char* address : {"10.1.0.0", "10.1.255.255", "10.1.0.9", "10.2.0.1"}) {
    const Ipv4Address target = Ipv4Address::parse(address).value();
    deliver(packets::arp_request(target));
    expect_dropped(DropReason::arp_not_for_us, address);
    deliver(packets::ethernet({}, packets::icmp_echo({.destination = target})));
    expect_dropped(DropReason::ip_wrong_address, address);
  }
}

TEST_F(HostIpv6, EchoesEverySizeInFragments) {
  settle();
  tap.link_mtu = 1500;
  const std::vector<std::pair<std::size_t, std::size_t>> sizes = {{0, 1}, {1452, 1}, {1453, 2}, {65'507, 46}};
  for (const auto& [size, answers] : sizes) {
    const Buffer payload = shapes::some_bytes(size);
    const Buffer request = icmpv6_packet({.type = icmpv6_type::echo_request, .rest = 7}, payload);
    if (size <= 1452)
      deliver_ip(request);
    else
      for (const Buffer& part : fragments(request, 1448)) deliver_ip(part);
    ASSERT_THAT(tap.written, SizeIs(answers)) << size;
    // Put together by a demultiplexer of the test.
    struct Take : TransportProtocol {
      void datagram_received(const IpDatagram& datagram) override {
        got = {datagram.payload().begin(), datagram.payload().end()};
      }
      Buffer got;
    } take;
    IpDemux demux;
    demux.add_proto(ip_protocol::icmpv6, take);
    FakeTransport tun{DeviceKind::tun};
    for (const Buffer& frame : std::exchange(tap.written, {})) {
      EXPECT_LE(frame.size(), 1514U);
      tun.deliver(demux, {frame.begin() + 14, frame.end()});
    }
    EXPECT_EQ(take.got, icmpv6({.type = icmpv6_type::echo_reply, .rest = 7}, payload, host_ip6, kernel_ip6))
        << size;
  }
  EXPECT_EQ(host.statistics().icmpv6_echo_replies, 4U);
  EXPECT_EQ(host.statistics().reassembled, 2U);
  EXPECT_EQ(tap.drops.total(), 0U);
}

TEST_F(HostIpv6, NotesANarrowPathAndFragmentsForIt) {
  settle();
  const Buffer big = icmpv6_packet({.type = icmpv6_type::echo_reply}, Buffer(1400), host_ip6, kernel_ip6);
  const Ipv6Address router = "fd00::3";
  const auto too_big = [&](std::uint32_t mtu, Bytes quoted) {
    deliver_ip(icmpv6_packet({.type = icmpv6_type::packet_too_big, .rest = mtu}, quoted, router));
  };
  too_big(1300, Bytes{big}.first(100));
  EXPECT_EQ(host.statistics().path_mtu_updates, 1U);
  deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(1400)));
  EXPECT_THAT(std::exchange(tap.written, {}), SizeIs(2));
  too_big(1290, Bytes{icmpv6_packet({.type = 129}, Buffer(1400), kernel_ip6, host_ip6)}.first(100));
  expect_dropped(DropReason::icmp_unhandled, "the host sent no such packet");
  too_big(1400, Bytes{big}.first(100));
  expect_dropped(DropReason::icmp_unhandled, "wider");
  too_big(10, Bytes{big}.first(100));
  deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(1400)));
  for (const Buffer& frame : std::exchange(tap.written, {})) EXPECT_LE(frame.size(), 1280U + 14U);
  tap.clock.advance(11min);
  tap.written.clear();
  deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(1400)));
  EXPECT_THAT(tap.written, SizeIs(1)) << "forgotten";
}

TEST_F(HostIpv6, RefusesWithIcmpv6AndResets) {
  settle();
  const auto to_port = [](std::uint16_t port) {
    Buffer udp(8);
    UdpHeader{40000, port}.emit(udp, {}, kernel_ip6, host_ip6);
    return ipv6({.next_header = 17, .source = kernel_ip6, .destination = host_ip6}, udp);
  };
  deliver_ip(to_port(43));
  auto answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].type(), icmpv6_type::destination_unreachable);
  EXPECT_EQ(answers[0].icmp->code(), 4);
  const Bytes quoted = answers[0].icmp->payload();
  EXPECT_EQ(Buffer(quoted.begin(), quoted.end()), to_port(43));
  deliver_ip(ipv6({.next_header = 200, .source = kernel_ip6, .destination = host_ip6}, Buffer(2000)));
  answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].type(), icmpv6_type::parameter_problem);
  EXPECT_EQ(answers[0].icmp->code(), 1);
  EXPECT_EQ(answers[0].icmp->rest(), 6U) << "the next header of the IPv6 header";
  EXPECT_EQ(answers[0].ip->bytes().size(), 1280U);
  deliver_ip(ipv6({.next_header = 60, .source = kernel_ip6, .destination = host_ip6},
                  packets::hex("00 00 01 04 00 00 00 00 3a 00 01 04 00 00 00 00")));
  answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].icmp->code(), 1);
  EXPECT_EQ(answers[0].icmp->rest(), 40U) << "hop-by-hop options behind another header";
  const shapes::Shape tcp{.v6 = true, .source6 = kernel_ip6, .destination6 = host_ip6};
  deliver_ip(shapes::datagram(tcp, {}));
  EXPECT_EQ(host.statistics().tcp_resets, 1U);
  EXPECT_EQ(host.statistics().port_unreachable, 1U);
  EXPECT_EQ(host.statistics().protocol_unreachable, 2U);
  tap.written.clear();
  tap.drops = {};
  deliver_ip(ipv6({.next_header = 59, .source = kernel_ip6, .destination = host_ip6}, {}));
  expect_dropped(DropReason::unknown_ip_protocol, "no next header");
}

TEST_F(HostIpv6, TellsOfMissingFragments) {
  settle();
  const Buffer request = icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(100));
  deliver_ip(fragment(request, 0, 48, true));
  tap.clock.advance(60s);
  const auto answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].type(), icmpv6_type::time_exceeded);
  EXPECT_EQ(answers[0].icmp->code(), 1);
  EXPECT_EQ(answers[0].ethernet->destination(), kernel_mac);
  EXPECT_EQ(tap.drops[DropReason::ip_fragment], 1U);
  EXPECT_EQ(host.statistics().reassembly_timeouts, 1U);
  deliver_ip(fragment(request, 48, 48, true));
  tap.clock.advance(60s);
  EXPECT_THAT(tap.written, IsEmpty()) << "without the first fragment";
}

TEST_F(HostIpv6, AnswersNothingThatIsNotDue) {
  settle();
  const auto echo_from = [](const Ipv6Address& source, const Ipv6Address& to) {
    return icmpv6_packet({.type = icmpv6_type::echo_request}, {}, source, to);
  };
  deliver_ip(echo_from(all_nodes(), host_ip6));
  expect_dropped(DropReason::ip_bad_source, "a group");
  deliver_ip(echo_from(Ipv6Address{}, host_ip6));
  expect_dropped(DropReason::ip_bad_source, "unspecified");
  deliver_ip(echo_from(host_ip6, host_ip6));
  expect_dropped(DropReason::ip_bad_source, "ours");
  deliver_ip(echo_from("::1", host_ip6));
  expect_dropped(DropReason::ip_bad_source, "loopback");
  deliver_ip(echo_from(kernel_ip6, all_nodes()));
  expect_dropped(DropReason::answer_not_allowed, "to a group");
  deliver(packets::ethernet({.destination = MacAddress::broadcast(), .ethertype = ethertype::ipv6},
                            echo_from(kernel_ip6, host_ip6)));
  expect_dropped(DropReason::answer_not_allowed, "in a broadcast frame");
  deliver(packets::ethernet({.ethertype = ethertype::ipv4}, echo_from(kernel_ip6, host_ip6)));
  expect_dropped(DropReason::ip_bad_version, "in a frame of IPv4");
  deliver_ip(ipv6({.next_header = 17, .source = kernel_ip6, .destination = all_nodes()}, Buffer(8)));
  expect_dropped(DropReason::ip_wrong_address, "UDP to a group");
  deliver_ip(icmpv6_packet({.type = icmpv6_type::destination_unreachable}, Buffer(48)));
  expect_dropped(DropReason::icmp_unhandled, "an error");
  deliver_ip(icmpv6_packet({.type = icmpv6_type::echo_request, .code = 1}, {}));
  expect_dropped(DropReason::icmp_unhandled, "a code");
}

TEST_F(HostIpv6, AsksForAReceiver) {
  settle();
  struct Sender : DatagramProtocol {
    void datagram_received(const Datagram&) override {}
    WriteResult write(const char* to) {
      return transport().write_to(Endpoint::parse(to).value(), as_bytes("hello"));
    }
  } sender;
  host.add_udp(50, sender);
  EXPECT_EQ(sender.write("[fd00::7]:9"), WriteResult::make_queued());
  auto asked = seen();
  ASSERT_THAT(asked, SizeIs(1));
  const Ipv6Address wanted = "fd00::7";
  EXPECT_EQ(asked[0].message()->target, wanted);
  EXPECT_EQ(asked[0].message()->source_mac, host_mac);
  EXPECT_EQ(asked[0].ip->source(), host_ip6);
  const MacAddress station{{2, 0, 0, 0, 0, 7}};
  deliver(advertisement(wanted, station, host_ip6, solicited_flag | override_flag));
  ASSERT_THAT(tap.written, SizeIs(1));
  DropReason why{};
  const Buffer frame = tap.written.front();
  const auto ethernet = EthernetView::checked(frame, why);
  EXPECT_EQ(ethernet->destination(), station);
  EXPECT_EQ(ethernet->ethertype(), ethertype::ipv6);
  const auto ip = IpView::checked(ethernet->payload(), why);
  const auto udp = UdpView::checked(ip->payload(), ip->source(), ip->destination(), why);
  ASSERT_TRUE(udp);
  EXPECT_EQ(as_text(udp->payload()), "hello");
  EXPECT_EQ(sender.write("[2001:db8::1]:9"), WriteResult::make_refused(DropReason::no_route))
      << "not on the link";
  host.remove_udp(50, sender);
}

TEST_F(HostIpv6, AnswersRouterSolicitations) {
  settle();
  Body body;
  body.add(source_link_layer_address, kernel_mac);
  deliver(packets::ethernet({.destination = group_mac(all_routers()), .ethertype = ethertype::ipv6},
                            icmpv6_packet({.type = icmpv6_type::router_solicitation}, body.bytes(), "fe80::1",
                                          all_routers(), hop_limit)));
  const auto answers = seen();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].type(), icmpv6_type::router_advertisement);
  const Bytes advertised = answers[0].icmp->payload();
  EXPECT_EQ(answers[0].icmp->rest(), 64U << 24) << "hop limit 64, no flags, lifetime 0";
  EXPECT_EQ(load_u8(advertised, 16), 3U) << "prefix information";
  EXPECT_EQ(load_u8(advertised, 18), 64U);
  EXPECT_EQ(to_string(Ipv6Address::load(advertised, 32)), "fd00:2::");
}

TEST(HostIpv6OnTun, NeedsNoProbes) {
  Host host{{.addresses = {"fd00::2"}}};
  FakeTransport tun{DeviceKind::tun};
  EXPECT_FALSE(host.addresses_are_settled()) << "without a port";
  host.ip().connect(tun);
  EXPECT_TRUE(host.addresses_are_settled());
  tun.deliver(host.ip(), icmpv6_packet({.type = icmpv6_type::echo_request}, {}));
  EXPECT_THAT(tun.written, SizeIs(1));
  host.ip().disconnect(tun);
}

}  // namespace
}  // namespace tunport
