#include "tunport/host/host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/host_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace packets;
using namespace matchers;
using test_support::HostTest;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(HostTest, AnswersArp) {
  deliver(arp_request(host_ip));
  EXPECT_THAT(tap_.written,
              ElementsAre(is_arp_reply(from(host_mac), to(kernel_mac), from("10.0.0.2"), to("10.0.0.1"))));
  EXPECT_EQ(host_.statistics().arp_replies, 1U);
}

TEST_F(HostTest, AnswersAnArpProbeForItsAddress) {
  deliver(arp_request(host_ip, kernel_mac, Ipv4Address{}));
  EXPECT_EQ(tap_.written.size(), 1U) << "RFC 5227: it is taken";
}

TEST_F(HostTest, AnswersNoOtherArp) {
  deliver(arp_request(ip("10.0.0.3")));
  expect_dropped("another address", DropReason::arp_not_for_us);
  deliver(arp_reply(kernel_ip, kernel_mac, host_ip, host_mac));
  expect_dropped("a reply", DropReason::arp_not_for_us);
  deliver(arp_request(host_ip, kernel_mac, host_ip));
  expect_dropped("somebody announces our address", DropReason::answer_not_allowed);
  deliver(arp_request(host_ip, kernel_mac, ip("10.0.0.255")));
  expect_dropped("from a broadcast address", DropReason::answer_not_allowed);
  deliver(arp_request(host_ip, MacAddress::broadcast()));
  expect_dropped("from the broadcast MAC", DropReason::answer_not_allowed);
  const Buffer whole = arp_request(host_ip);
  for (std::size_t size = 14; size < 14 + ArpHeader::size; ++size) {
    deliver(Buffer(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    expect_dropped("cut off", DropReason::arp_malformed);
  }
}

TEST_F(HostTest, AnswersPing) {
  deliver_ip(icmp_echo({.id = 5, .sequence = 9}, "payload"));
  EXPECT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply(from("10.0.0.2"), to("10.0.0.1"), echo(5, 9),
                                                           payload("payload"))));
  EXPECT_EQ(host_.statistics().icmp_echo_replies, 1U);
}

TEST_F(HostTest, AnswersPingOnTun) {
  FakeTransport tun{DeviceKind::tun};
  tun.deliver(host_.ip(), icmp_echo());
  EXPECT_THAT(tun.written, ElementsAre(is_icmp_echo_reply(from("10.0.0.2"))));
  EXPECT_EQ(&host_.protocol(DeviceKind::tun), static_cast<FrameProtocol*>(&host_.ip()));
  EXPECT_EQ(&host_.protocol(DeviceKind::tap), static_cast<FrameProtocol*>(&host_.ethernet()));
}

TEST_F(HostTest, ThePaddingOfAPingIsNotAnswered) {
  deliver(padded(packets::ethernet({}, icmp_echo({}, "x")), 60, std::byte{'!'}));
  EXPECT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply(payload("x"))));
  EXPECT_EQ(tap_.written[0].size(), 14U + 20 + 8 + 1);
}

TEST_F(HostTest, AnswersNoOtherIcmp) {
  deliver_ip(icmp_echo({.type = icmp_type::echo_reply}));
  expect_dropped("an echo reply", DropReason::icmp_unhandled);
  deliver_ip(icmp_echo({.type = icmp_type::destination_unreachable}));
  expect_dropped("an error", DropReason::icmp_unhandled);
  deliver_ip(patched(icmp_echo({}, "x"), 22, hex("ffff")));
  expect_dropped("a wrong checksum", DropReason::icmp_bad_checksum);
  deliver_ip(ipv4({.protocol = 1, .source = kernel_ip, .destination = host_ip}, "1234567"));
  expect_dropped("7 bytes", DropReason::icmp_short);
}

TEST_F(HostTest, EndpointsAnswerTheSender) {
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:7777", "hello"));
  EXPECT_THAT(tap_.written,
              ElementsAre(is_udp(from("10.0.0.2", 7777), to("10.0.0.1", 40000), payload("hello"))));
  EXPECT_EQ(echo_.echoes(), 1U);
  host_.remove_udp(7777, echo_);
  tap_.written.clear();
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:7777", "hello"));
  EXPECT_THAT(tap_.written, ElementsAre(is_port_unreachable()));
}

TEST_F(HostTest, TwoEchoServicesDoNotTalkForEver) {
  deliver_ip(udp("10.0.0.1:7", "10.0.0.2:7777", "hello"));
  expect_dropped("from an echo service", DropReason::answer_not_allowed);
}

TEST_F(HostTest, SaysThatNobodyIsAtAPort) {
  const Buffer question = udp("10.0.0.1:40000", "10.0.0.2:9", "hello");
  deliver_ip(question);
  ASSERT_THAT(tap_.written,
              ElementsAre(is_port_unreachable(from("10.0.0.2"), to("10.0.0.1"), payload(question))));
  EXPECT_EQ(tap_.drops[DropReason::unknown_udp_port], 1U);
  EXPECT_EQ(host_.statistics().port_unreachable, 1U);
}

TEST_F(HostTest, AnErrorQuotesNoMoreThanFits) {
  deliver_ip(udp(endpoint("10.0.0.1:40000"), endpoint("10.0.0.2:9"), Buffer(1400)));
  ASSERT_EQ(tap_.written.size(), 1U);
  EXPECT_EQ(tap_.written[0].size(), 14U + 576) << "RFC 1812 4.3.2.3";
}

TEST_F(HostTest, ErrorsAreRateLimited) {
  for (int i = 0; i < 60; ++i) deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"));
  EXPECT_EQ(host_.statistics().port_unreachable, 50U);
  EXPECT_EQ(tap_.drops[DropReason::rate_limited], 10U);
  EXPECT_EQ(tap_.drops.total(), 60U) << "each counted once";
  tap_.clock.advance(100ms);
  for (int i = 0; i < 60; ++i) deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"));
  EXPECT_EQ(host_.statistics().port_unreachable, 60U) << "10 in 100 ms";
}

TEST_F(HostTest, AnswersNothingThatRfc1122Forbids) {
  const auto question = [](const char* source, const char* destination, std::uint16_t port = 9) {
    return udp(Endpoint{ip(source), 40000}, Endpoint{ip(destination), port}, "hello");
  };
  const struct {
    const char* what;
    Buffer packet;
    EthernetFields fields;
    DropReason reason;
  } table[] = {
      {"another host", question("10.0.0.1", "10.0.0.3"), {}, DropReason::ip_wrong_address},
      {"limited broadcast", question("10.0.0.1", "255.255.255.255"), {}, DropReason::ip_wrong_address},
      {"directed broadcast", question("10.0.0.1", "10.0.0.255"), {}, DropReason::ip_wrong_address},
      {"multicast", question("10.0.0.1", "224.0.0.1"), {}, DropReason::ip_wrong_address},
      {"link broadcast",
       question("10.0.0.1", "10.0.0.2"),
       {.destination = MacAddress::broadcast()},
       DropReason::answer_not_allowed},
      {"link broadcast to an endpoint",
       question("10.0.0.1", "10.0.0.2", 7777),
       {.destination = MacAddress::broadcast()},
       DropReason::answer_not_allowed},
      {"link broadcast ping",
       icmp_echo(),
       {.destination = MacAddress::broadcast()},
       DropReason::answer_not_allowed},
      {"from nowhere", question("0.0.0.0", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from 0.1.2.3", question("0.1.2.3", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from loopback", question("127.0.0.1", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from multicast", question("224.0.0.1", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from the limited broadcast", question("255.255.255.255", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from the subnet's broadcast", question("10.0.0.255", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from the subnet's network", question("10.0.0.0", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"from ourselves", question("10.0.0.2", "10.0.0.2"), {}, DropReason::ip_bad_source},
      {"ping from the subnet's broadcast",
       icmp_echo({.source = ip("10.0.0.255")}),
       {},
       DropReason::ip_bad_source},
      {"wrong MAC",
       question("10.0.0.1", "10.0.0.2"),
       {.destination = kernel_mac},
       DropReason::ethernet_wrong_mac},
      {"from a group MAC",
       question("10.0.0.1", "10.0.0.2", 7777),
       {.source = MacAddress::broadcast()},
       DropReason::answer_not_allowed},
  };
  for (const auto& row : table) {
    deliver_ip(row.packet, row.fields);
    expect_dropped(row.what, row.reason);
  }
  deliver(packets::ethernet({}, icmp_echo(), {{.vid = 7}}));
  expect_dropped("a VLAN that is not served", DropReason::vlan_tagged);
}

TEST_F(HostTest, ADirectedBroadcastIsOrdinaryWhereTheSubnetHasNone) {
  Host pair{{.addresses = {ip("10.0.0.0")}, .mac = host_mac, .subnets = {*IpPrefix::parse("10.0.0.1/31")}}};
  tap_.deliver(pair.ethernet(),
               packets::ethernet({}, icmp_echo({.source = ip("10.0.0.1"), .destination = ip("10.0.0.0")})));
  EXPECT_EQ(tap_.written.size(), 1U) << "RFC 3021";
}

TEST_F(HostTest, The240NetworkIsOrdinaryAsInLinux) {
  for (const char* source : {"240.0.0.1", "255.255.255.254"}) {
    tap_.written.clear();
    deliver_ip(icmp_echo({.source = ip(source)}));
    EXPECT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply(to(source))));
    deliver(arp_request(host_ip, kernel_mac, ip(source)));
    EXPECT_THAT(tap_.written, ElementsAre(testing::_, is_arp_reply(to(source))));
  }
  Host other{{.addresses = {ip("240.0.0.2")}, .mac = host_mac}};
  tap_.written.clear();
  tap_.deliver(other.ethernet(), packets::ethernet({}, icmp_echo({.destination = ip("240.0.0.2")})));
  EXPECT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply(from("240.0.0.2"))));
}

TEST_F(HostTest, AnEchoHasTheServiceOfTheRequest) {
  for (int tos = 0; tos < 256; ++tos) {
    tap_.written.clear();
    const auto octet = static_cast<std::uint8_t>(tos);
    deliver_ip(ipv4({.tos = octet, .protocol = 1, .source = kernel_ip, .destination = host_ip},
                    icmp({.type = icmp_type::echo_request}, "x")));
    ASSERT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply()));
    EXPECT_EQ(dissect(tap_.written[0]).ipv4->tos(), octet & 0xfc) << "without the bits of ECN";
  }
}

TEST_F(HostTest, AnEchoRecordsTheRoute) {
  const auto options_of_answer = [&](std::string_view options) {
    tap_.written.clear();
    const Buffer asked = hex(options);
    deliver_ip(ipv4({.protocol = 1, .source = kernel_ip, .destination = host_ip, .options = asked},
                    icmp({.type = icmp_type::echo_request}, "x")));
    EXPECT_THAT(tap_.written, ElementsAre(is_icmp_echo_reply(payload("x"))));
    return tap_.written.empty() ? "none" : to_hex(dissect(tap_.written[0]).ipv4->options());
  };
  EXPECT_EQ(options_of_answer("070b08 0a000001 00000000 00"), "070b0c0a0000010a00000200");
  EXPECT_EQ(options_of_answer("070704 00000000 00"), "0707080a00000200");
  EXPECT_EQ(options_of_answer("070708 0a000001 00"), "0707080a00000100") << "full";
  EXPECT_EQ(options_of_answer("01010101"), "");
  EXPECT_EQ(options_of_answer("4408050000000000"), "") << "a time stamp";
  EXPECT_EQ(options_of_answer("070b0800"), "") << "malformed";
  EXPECT_EQ(options_of_answer("830708 0a000001 00"), "") << "a source route, all visited";
}

TEST_F(HostTest, NothingIsAnsweredOnASourceRouteWithStationsLeft) {
  for (const char* route : {"830704 0a000003 00", "890704 0a000003 00", "83070400", "01010183"}) {
    const Buffer options = hex(route);
    for (const std::uint8_t protocol : {ip_protocol::icmp, ip_protocol::tcp, ip_protocol::udp}) {
      const Buffer whole = protocol == ip_protocol::icmp  ? icmp_echo()
                           : protocol == ip_protocol::tcp ? tcp("10.0.0.1:1", "10.0.0.2:2", {})
                                                          : udp("10.0.0.1:1", "10.0.0.2:7777", "x");
      deliver_ip(ipv4({.protocol = protocol, .source = kernel_ip, .destination = host_ip, .options = options},
                      Bytes{whole}.subspan(20)));
      expect_dropped(route, DropReason::ip_source_route);
    }
  }
}

TEST_F(HostTest, AnErrorThatMayNotBeSentIsCountedOnce) {
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"), {.source = MacAddress::broadcast()});
  expect_dropped("from a group", DropReason::answer_not_allowed);
}

TEST_F(HostTest, WhatThePortRefusesIsNoAnswer) {
  tap_.result = WriteResult::make_refused(DropReason::link_down);
  deliver(arp_request(host_ip));
  deliver_ip(icmp_echo());
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:7777", "hello"));
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"));
  EXPECT_EQ(host_.statistics().arp_replies, 0U);
  EXPECT_EQ(host_.statistics().icmp_echo_replies, 0U);
  EXPECT_EQ(host_.statistics().port_unreachable, 0U);
  EXPECT_EQ(echo_.echoes(), 0U);
}

}  // namespace
}  // namespace tunport
