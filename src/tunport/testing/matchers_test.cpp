#include "tunport/testing/matchers.hpp"

#include <stdexcept>

#include <gtest/gtest.h>

namespace tunport {
namespace {

using namespace packets;
using namespace matchers;
using ::testing::ElementsAre;
using ::testing::Matches;
using ::testing::Not;

const Buffer datagram = udp("10.0.0.2:42", "10.0.0.1:40000", "x");
const Buffer frame = padded(ethernet({.destination = kernel_mac, .source = host_mac}, datagram));

TEST(Matchers, ReadLikeThis) {
  EXPECT_THAT((std::vector<Buffer>{frame}), ElementsAre(is_udp(from("10.0.0.2", 42))));
  EXPECT_THAT(frame, is_ethernet(from(host_mac), to("02:00:00:00:00:01"),
                                 carries_ipv4(from("10.0.0.2"), carries_udp(port(40000), payload("x")))));
  EXPECT_THAT(datagram, is_ipv4(from("10.0.0.2"), to("10.0.0.1"), carries_udp(source_port(42))));
  EXPECT_THAT(arp_request(host_ip), is_arp_request(from("10.0.0.1"), to("10.0.0.2"), from(kernel_mac)));
  EXPECT_THAT(arp_reply(host_ip, host_mac, kernel_ip, kernel_mac),
              is_arp_reply(from(host_ip), from(host_mac), to(kernel_ip), to(kernel_mac)));
  EXPECT_THAT(icmp_echo({.id = 3, .sequence = 4}, "p"), is_icmp_echo_request(echo(3, 4), payload("p")));
  EXPECT_THAT(icmp_echo({.type = icmp_type::echo_reply}), is_icmp_echo_reply(carries_icmp(echo(1, 1))));
}

TEST(Matchers, RefuseWhatIsNotSo) {
  EXPECT_THAT(frame, Not(is_udp(from("10.0.0.2", 43))));
  EXPECT_THAT(frame, Not(is_udp(from("10.0.0.3", 42))));
  EXPECT_THAT(frame, Not(is_udp(to("10.0.0.1", 40001))));
  EXPECT_THAT(frame, Not(is_udp(to("10.0.0.2", 40000))));
  EXPECT_THAT(frame, Not(is_udp(payload(""))));
  EXPECT_THAT(frame, Not(is_udp(payload("xx"))));
  EXPECT_THAT(frame, Not(is_udp(from(kernel_mac))));
  EXPECT_THAT(frame, Not(is_udp(to(host_mac))));
  EXPECT_THAT(frame, Not(is_arp_reply()));
  EXPECT_THAT(frame, Not(is_ipv4(carries_icmp())));
  EXPECT_THAT(datagram, Not(is_ethernet()));
  EXPECT_THAT(icmp_echo(), Not(is_icmp_echo_reply()));
  EXPECT_THAT(icmp_echo(), Not(is_port_unreachable()));
  EXPECT_THAT(icmp_echo(), Not(is_icmp_echo_request(echo(1, 2))));
  EXPECT_THAT(arp_request(host_ip), Not(is_arp_reply()));
  // An ARP reply with different sender stations in Ethernet and ARP.
  EXPECT_THAT(patched(arp_reply(host_ip, host_mac, kernel_ip, kernel_mac), 27, hex("09")),
              Not(is_arp_reply(from(host_mac))));
}

TEST(Matchers, RefuseWrongChecksums) {
  EXPECT_THAT(patched(datagram, 26, hex("1234")), Not(is_udp()));
  EXPECT_THAT(patched(datagram, 26, hex("1234")), is_ipv4());
  EXPECT_THAT(patched(datagram, 10, hex("1234")), Not(is_ipv4()));
}

// Captured from Linux 6.18: the answer to a datagram for a port without a listener.
TEST(Matchers, PortUnreachable) {
  EXPECT_THAT(hex("02000000000a02000000000b080045c0003f242a0000400141d20a0000020a0000010303112000000000"
                  "450000235c6d40004011ca5a0a0000010a0000029c40002a000f890a74756e706f7274"),
              is_port_unreachable(
                  from("10.0.0.2"), to("10.0.0.1"),
                  payload(hex("450000235c6d40004011ca5a0a0000010a0000029c40002a000f890a74756e706f7274"))));
}

TEST(Matchers, Tcp) {
  const TcpHeader fields{.sequence = 7, .acknowledgment = 8, .flags = tcp_flag::rst};
  const Buffer segment = tcp("10.0.0.2:80", "10.0.0.1:40000", fields, "x");
  EXPECT_THAT(segment, is_tcp(from("10.0.0.2", 80), to("10.0.0.1", 40000), flags(tcp_flag::rst),
                              numbers(7, 8), payload("x")));
  EXPECT_THAT(segment, is_ipv4(carries_tcp(source_port(80), port(40000))));
  EXPECT_THAT(segment, Not(is_tcp(flags(tcp_flag::rst | tcp_flag::ack))));
  EXPECT_THAT(segment, Not(is_tcp(numbers(7, 7))));
  EXPECT_THAT(segment, Not(is_tcp(numbers(8, 8))));
  EXPECT_THAT(segment, Not(is_tcp(port(80))));
  EXPECT_THAT(segment, Not(is_udp()));
  EXPECT_THAT(patched(segment, 36, hex("1234")), Not(is_tcp()));
  EXPECT_THAT(patched(segment, 36, hex("1234")), is_ipv4());
}

TEST(Matchers, ProtocolUnreachable) {
  const auto error = [](std::uint8_t code) {
    return ipv4({.protocol = 1, .source = host_ip, .destination = kernel_ip},
                icmp({.type = icmp_type::destination_unreachable, .code = code}, "xy"));
  };
  EXPECT_THAT(error(icmp_unreachable::protocol), is_protocol_unreachable(from("10.0.0.2"), payload("xy")));
  EXPECT_THAT(error(icmp_unreachable::port), Not(is_protocol_unreachable()));
  EXPECT_THAT(error(icmp_unreachable::protocol), Not(is_port_unreachable()));
}

TEST(Matchers, TakeContainersOfBytesAndWhatHasBytes) {
  struct PacketLike {
    Bytes borrowed;
    Bytes bytes() const { return borrowed; }
  };
  EXPECT_THAT(PacketLike{frame}, is_udp());
  EXPECT_THAT(Bytes{frame}, is_udp());
  EXPECT_THAT(std::string{as_text(frame)}, is_udp());
  std::vector<std::uint8_t> octets;
  for (const std::byte byte : frame) octets.push_back(std::to_integer<std::uint8_t>(byte));
  EXPECT_THAT(octets, is_udp());
}

TEST(Matchers, SayWhatWasWantedAndWhatThereWas) {
  const ::testing::Matcher<const Buffer&> wanted =
      is_ethernet(from(host_mac), carries_udp(from("10.0.0.2", 43), payload("x")));
  EXPECT_EQ(::testing::DescribeMatcher<const Buffer&>(wanted),
            "is Ethernet from 02:00:00:00:00:02, UDP from 10.0.0.2:43, with payload 78");
  EXPECT_EQ(::testing::DescribeMatcher<const Buffer&>(Not(is_arp_reply())), "is not an ARP reply");
  ::testing::StringMatchResultListener why;
  EXPECT_FALSE(wanted.MatchAndExplain(frame, &why));
  EXPECT_EQ(
      why.str(),
      "which is 02:00:00:00:00:02 > 02:00:00:00:00:01, IPv4 10.0.0.2 > 10.0.0.1, UDP 42 > 40000, 1 bytes");
}

TEST(Matchers, GarbageInTheTestIsAnError) { EXPECT_THROW(from("10.0.0"), std::invalid_argument); }

}  // namespace
}  // namespace tunport
