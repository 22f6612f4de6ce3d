// What nobody serves, and how the host says so: TCP resets, and ICMP errors.

#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/host_kit.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace packets;
using namespace matchers;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class HostRefusal : public test_support::HostTest {
 protected:
  static Buffer segment(const TcpHeader& fields, Content payload = {}) {
    return tcp("10.0.0.1:40000", "10.0.0.2:80", fields, payload);
  }
  static Buffer of_protocol(std::uint8_t protocol, Content payload = "hello") {
    return ipv4({.protocol = protocol, .source = kernel_ip, .destination = host_ip}, payload);
  }
};

// RFC 9293 3.10.7.1.
TEST_F(HostRefusal, ResetsEachSegmentAsItsNumbersDemand) {
  using namespace tcp_flag;
  const struct {
    const char* what;
    TcpHeader fields;
    const char* payload;
    std::uint8_t flags;
    std::uint32_t sequence;
    std::uint32_t acknowledgment;
  } table[] = {
      {"SYN", {.sequence = 100, .flags = syn}, "", rst | ack, 0, 101},
      {"SYN with data", {.sequence = 100, .flags = syn}, "hello", rst | ack, 0, 106},
      {"SYN at the end of the numbers", {.sequence = 0xffffffff, .flags = syn}, "", rst | ack, 0, 0},
      {"data alone", {.sequence = 100, .flags = psh}, "hello", rst | ack, 0, 105},
      {"FIN alone", {.sequence = 100, .flags = fin}, "", rst | ack, 0, 101},
      {"SYN and FIN", {.sequence = 100, .flags = syn | fin}, "", rst | ack, 0, 102},
      {"no flags", {.sequence = 100, .flags = 0}, "", rst | ack, 0, 100},
      {"ACK", {.sequence = 100, .acknowledgment = 7, .flags = ack}, "hello", rst, 7, 0},
      {"SYN and ACK", {.sequence = 100, .acknowledgment = 7, .flags = syn | ack}, "", rst, 7, 0},
      {"FIN and ACK", {.sequence = 100, .acknowledgment = 7, .flags = fin | ack}, "", rst, 7, 0},
      {"all but RST", {.sequence = 1, .acknowledgment = 7, .flags = 0xff & ~rst}, "", rst, 7, 0},
  };
  for (const auto& row : table) {
    tap_.written.clear();
    deliver_ip(segment(row.fields, row.payload));
    EXPECT_THAT(tap_.written,
                ElementsAre(is_tcp(from("10.0.0.2", 80), to("10.0.0.1", 40000), to(kernel_mac),
                                   flags(row.flags), numbers(row.sequence, row.acknowledgment), payload(""))))
        << row.what;
  }
  EXPECT_EQ(host_.statistics().tcp_resets, std::size(table));
  EXPECT_EQ(tap_.drops[DropReason::unknown_tcp_port], std::size(table));
  EXPECT_EQ(tap_.drops.total(), std::size(table));
}

TEST_F(HostRefusal, NeverResetsAResetNorWhatIsNoSegment) {
  const Buffer syn = segment({.flags = tcp_flag::syn});
  for (const int bits : {0x04, 0x14, 0xff}) {
    deliver_ip(segment({.flags = static_cast<std::uint8_t>(bits)}));
    expect_dropped("a reset", DropReason::answer_not_allowed);
  }
  deliver_ip(patched(syn, 36, hex("1234")));
  expect_dropped("a wrong checksum", DropReason::tcp_bad_checksum);
  for (std::size_t size = 0; size < TcpHeader::size; ++size) {
    deliver_ip(of_protocol(ip_protocol::tcp, Bytes{syn}.subspan(20, size)));
    expect_dropped("no whole header", DropReason::tcp_short);
  }
  deliver_ip(syn, {.destination = MacAddress::broadcast()});
  expect_dropped("link broadcast", DropReason::answer_not_allowed);
  deliver_ip(syn, {.source = MacAddress::broadcast()});
  expect_dropped("from a group MAC", DropReason::answer_not_allowed);
  for (const char* destination : {"10.0.0.255:80", "255.255.255.255:80", "224.0.0.1:80", "10.0.0.3:80"}) {
    deliver_ip(tcp("10.0.0.1:40000", destination, {.flags = tcp_flag::syn}));
    expect_dropped(destination, DropReason::ip_wrong_address);
  }
  for (const char* source : {"10.0.0.255:80", "255.255.255.255:80", "224.0.0.1:80", "10.0.0.2:80"}) {
    deliver_ip(tcp(source, "10.0.0.2:80", {.flags = tcp_flag::syn}));
    expect_dropped(source, DropReason::ip_bad_source);
  }
  EXPECT_EQ(host_.statistics().tcp_resets, 0U);
}

TEST_F(HostRefusal, ResetsHaveARateOfTheirOwn) {
  for (int i = 0; i < 60; ++i) deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"));
  for (int i = 0; i < 60; ++i) deliver_ip(segment({.flags = tcp_flag::syn}));
  EXPECT_EQ(host_.statistics().tcp_resets, 50U);
  EXPECT_EQ(host_.statistics().port_unreachable, 50U);
  EXPECT_EQ(tap_.drops[DropReason::rate_limited], 20U);
  EXPECT_EQ(tap_.drops.total(), 120U) << "each counted once";
  tap_.clock.advance(100ms);
  for (int i = 0; i < 60; ++i) deliver_ip(segment({.flags = tcp_flag::syn}));
  EXPECT_EQ(host_.statistics().tcp_resets, 60U) << "10 in 100 ms";
}

TEST_F(HostRefusal, OneResetAnswersASuperPacket) {
  constexpr shapes::Shape shape;
  MemorySystem kernel;
  ManualReactor clock;
  TuntapPort port{clock, "tun0", host_.ip(), {.system = kernel}};
  port.start_listening();
  auto tunnel = kernel.tunnel("tun0");
  tunnel.set_up(true);
  const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(2500));
  ASSERT_TRUE(tunnel.inject(packet, shapes::offload_of(shape, 1000)));
  clock.run_ready();
  EXPECT_THAT(tunnel.collect_datagrams(), ElementsAre(is_tcp(flags(tcp_flag::rst))));
  EXPECT_EQ(host_.statistics().tcp_resets, 1U);
  EXPECT_EQ(port.statistics().drops[DropReason::unknown_tcp_port], 3U) << "as many as datagrams";
  EXPECT_EQ(port.statistics().drops.total(), 3U);
}

// RFC 1122 3.2.2.1.
TEST_F(HostRefusal, SaysThatAProtocolIsNotServed) {
  std::uint64_t sent = 0;
  for (const int protocol : {0, 2, 4, 41, 50, 132, 136, 253, 255}) {
    tap_.written.clear();
    const Buffer question = of_protocol(static_cast<std::uint8_t>(protocol));
    deliver_ip(question);
    EXPECT_THAT(tap_.written,
                ElementsAre(is_protocol_unreachable(from("10.0.0.2"), to("10.0.0.1"), payload(question))))
        << protocol;
    EXPECT_EQ(tap_.drops[DropReason::unknown_ip_protocol], ++sent);
  }
  EXPECT_EQ(host_.statistics().protocol_unreachable, sent);
  EXPECT_EQ(tap_.drops.total(), sent);
  tap_.written.clear();
  deliver_ip(of_protocol(253, Buffer(1400)));
  ASSERT_THAT(tap_.written, SizeIs(1));
  EXPECT_THAT(tap_.written[0], SizeIs(14U + 576)) << "RFC 1812 4.3.2.3";
}

TEST_F(HostRefusal, NoErrorAboutProtocolsWhereRfc1122ForbidsIt) {
  const auto datagram = [](Ipv4Address source, Ipv4Address destination) {
    return ipv4({.protocol = 253, .source = source, .destination = destination}, "hello");
  };
  deliver_ip(datagram(kernel_ip, host_ip), {.destination = MacAddress::broadcast()});
  expect_dropped("link broadcast", DropReason::answer_not_allowed);
  for (const char* destination : {"10.0.0.255", "255.255.255.255", "224.0.0.1", "10.0.0.3"}) {
    deliver_ip(datagram(kernel_ip, ip(destination)));
    expect_dropped(destination, DropReason::ip_wrong_address);
  }
  for (const char* source : {"10.0.0.255", "255.255.255.255", "224.0.0.1", "0.0.0.0", "10.0.0.2"}) {
    deliver_ip(datagram(ip(source), host_ip));
    expect_dropped(source, DropReason::ip_bad_source);
  }
  deliver_ip(ipv4({.more_fragments = true,
                   .fragment_offset = 8,
                   .protocol = 253,
                   .source = kernel_ip,
                   .destination = host_ip},
                  "12345678"));
  tap_.clock.advance(std::chrono::seconds{31});
  expect_dropped("a fragment other than the first", DropReason::ip_fragment);
  deliver_ip(icmp_echo({.type = icmp_type::destination_unreachable}));
  expect_dropped("an ICMP error", DropReason::icmp_unhandled);
}

TEST_F(HostRefusal, MissingFragmentsAreToldOf) {
  const Buffer first = ipv4(
      {.more_fragments = true, .protocol = 253, .source = kernel_ip, .destination = host_ip}, "12345678");
  deliver_ip(first);
  EXPECT_THAT(tap_.written, IsEmpty());
  tap_.clock.advance(std::chrono::seconds{31});
  EXPECT_THAT(tap_.written, SizeIs(1));
  const Layers layers = dissect(tap_.written.front());
  ASSERT_TRUE(layers.icmp);
  EXPECT_EQ(layers.icmp->type(), icmp_type::time_exceeded);
  EXPECT_EQ(layers.icmp->code(), 1);
  EXPECT_EQ(Buffer(layers.icmp->payload().begin(), layers.icmp->payload().end()), first);
  EXPECT_EQ(tap_.drops[DropReason::ip_fragment], 1U);
  EXPECT_EQ(host_.statistics().reassembly_timeouts, 1U);
}

TEST_F(HostRefusal, TheErrorsOfAllProtocolsHaveOneRate) {
  for (int i = 0; i < 30; ++i) {
    deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:9", "hello"));
    deliver_ip(of_protocol(253));
  }
  EXPECT_EQ(host_.statistics().port_unreachable, 25U);
  EXPECT_EQ(host_.statistics().protocol_unreachable, 25U);
  EXPECT_EQ(tap_.drops[DropReason::rate_limited], 10U);
  EXPECT_EQ(tap_.drops.total(), 60U) << "each counted once";
}

TEST_F(HostRefusal, WhatThePortRefusesIsNoAnswer) {
  tap_.result = WriteResult::make_refused(DropReason::link_down);
  deliver_ip(segment({.flags = tcp_flag::syn}));
  deliver_ip(of_protocol(253));
  EXPECT_EQ(host_.statistics().tcp_resets, 0U);
  EXPECT_EQ(host_.statistics().protocol_unreachable, 0U);
  EXPECT_EQ(tap_.drops.total(), 0U) << "the port counts its refusals";
}

}  // namespace
}  // namespace tunport
