#include "tunport/protocol/udp_demux.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/testing/matchers.hpp"

namespace tunport {
namespace {

using namespace packets;
using namespace matchers;
using testing::ElementsAre;
using testing::IsEmpty;

struct Answer : DatagramProtocol {
  void datagram_received(const Datagram& datagram) override {
    received.emplace_back(as_text(datagram.data));
    tickets.push_back(datagram.reply_to());
    if (!silent)
      last =
          transport().write_to(other.value_or(datagram.from), answer.empty() ? datagram.data : Bytes{answer});
    if (fails) throw std::runtime_error("after answering");
  }
  std::vector<std::string> received;
  std::optional<Endpoint> other;
  Buffer answer;
  std::vector<ReplyTo> tickets;
  bool fails = false;
  bool silent = false;
  WriteResult last = WriteResult::make_queued();
};

class UdpDemuxTest : public testing::Test {
 protected:
  UdpDemuxTest() {
    udp_.add_proto(42, answer_);
    ip_.add_proto(17, udp_);
    ethernet_.add_proto(0x0800, ip_);
  }
  void deliver(const Buffer& packet) { port_.deliver(ethernet_, packets::ethernet({}, packet)); }

  UdpDemux udp_;
  IpDemux ip_;
  EthernetDemux ethernet_;
  Answer answer_;
  FakeTransport port_;
};

TEST_F(UdpDemuxTest, DeliversAndAnswersTheSender) {
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_THAT(answer_.received, ElementsAre("hello"));
  EXPECT_THAT(
      port_.written,
      ElementsAre(is_ethernet(from(host_mac), to(kernel_mac),
                              carries_udp(from("10.0.0.2", 42), to("10.0.0.1", 40000), payload("hello")))));
}

TEST_F(UdpDemuxTest, ManyProtocolsMayListenAtOnePort) {
  Answer second;
  udp_.add_proto(42, second);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_EQ(answer_.received.size(), 1U);
  EXPECT_EQ(second.received.size(), 1U);
  EXPECT_THROW(udp_.add_proto(65536, second), std::out_of_range);
  udp_.remove_proto(42, answer_);
  udp_.remove_proto(42, second);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_EQ(port_.drops[DropReason::unknown_udp_port], 1U);
}

TEST_F(UdpDemuxTest, OnTapAHostThatWasNotHeardOfHasNoRoute) {
  answer_.other = endpoint("10.0.0.9:1");
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_EQ(answer_.last, WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(port_.drops[DropReason::no_route], 1U);
  EXPECT_THAT(port_.written, IsEmpty());
}

TEST_F(UdpDemuxTest, AnswersComeAnyTimeLater) {
  answer_.silent = true;
  const Buffer question = udp("10.0.0.1:40000", "10.0.0.2:42", "hello");
  EthernetDemux any_vlan{{.any_vlan = true}};
  any_vlan.add_proto(0x0800, ip_);
  port_.deliver(any_vlan, packets::ethernet({}, question, {{.vid = 7}}));
  EXPECT_THAT(port_.written, IsEmpty());
  EXPECT_EQ(&answer_.transport().reactor(), &port_.clock);
  EXPECT_TRUE(answer_.transport().write_to(endpoint("10.0.0.1:40000"), as_bytes("late")));
  EXPECT_TRUE(answer_.transport().write_to(endpoint("10.0.0.1:9"), as_bytes("elsewhere")));
  EXPECT_TRUE(answer_.transport().reply(answer_.tickets.at(0), as_bytes("ticket")));
  const auto answer = [&](std::uint16_t port, const char* text) {
    return is_ethernet(from(host_mac), to(kernel_mac),
                       carries_udp(from("10.0.0.2", 42), to("10.0.0.1", port), payload(text)));
  };
  EXPECT_THAT(port_.written,
              ElementsAre(answer(40000, "late"), answer(9, "elsewhere"), answer(40000, "ticket")));
  for (const Buffer& frame : port_.written) EXPECT_EQ(load_be16(frame, 14), 7) << "the tag";
  EXPECT_EQ(port_.drops.total(), 0U);
}

TEST_F(UdpDemuxTest, AProtocolSendsFromItsOwnPort) {
  Answer second;
  udp_.add_proto(43, second);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_TRUE(second.transport().write_to(endpoint("10.0.0.1:40000"), as_bytes("unasked")));
  EXPECT_TRUE(udp_.write_to(endpoint("10.0.0.1:40000"), as_bytes("by the demultiplexer")));
  EXPECT_THAT(port_.written,
              ElementsAre(is_ethernet(carries_udp(from("10.0.0.2", 42), payload("hello"))),
                          is_ethernet(carries_udp(from("10.0.0.2", 43), payload("unasked"))),
                          is_ethernet(carries_udp(from("10.0.0.2", 42), payload("by the demultiplexer")))));
}

TEST_F(UdpDemuxTest, TheLeastRecentlyUsedWayIsForgottenFirst) {
  UdpDemux small{{.neighbors = 2}};
  small.add_proto(42, answer_);
  ip_.remove_proto(17, udp_);
  ip_.add_proto(17, small);
  answer_.silent = true;
  for (const char* host : {"10.0.0.1:1", "10.0.0.3:1", "10.0.0.1:1", "10.0.0.4:1"})
    deliver(udp(host, "10.0.0.2:42", "hello"));
  const auto known = [&](const char* host) { return bool{small.write_to(endpoint(host), as_bytes("x"))}; };
  EXPECT_TRUE(known("10.0.0.1:1"));
  EXPECT_FALSE(known("10.0.0.3:1"));
  EXPECT_TRUE(known("10.0.0.4:1"));
  EXPECT_THROW(UdpDemux{{.neighbors = 0}}, std::invalid_argument);
}

TEST_F(UdpDemuxTest, OnTunAnyHostIsReached) {
  FakeTransport tun{DeviceKind::tun};
  UdpDemux sender{{.addresses = {host_ip}}};
  IpDemux ip;
  ip.add_proto(17, sender);
  sender.add_proto(42, answer_);
  ip.connect(tun);
  EXPECT_TRUE(answer_.transport().write_to(endpoint("192.0.2.1:53"), as_bytes("first")));
  EXPECT_THAT(tun.written, ElementsAre(is_udp(from("10.0.0.2", 42), to("192.0.2.1", 53), payload("first"))));
  EXPECT_EQ(sender.write_to(endpoint("192.0.2.1:53"), as_bytes("no port")),
            WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(answer_.transport().write_to(endpoint("[fd00::1]:53"), as_bytes("x")),
            WriteResult::make_refused(DropReason::no_route));
  ip.disconnect(tun);
}

TEST_F(UdpDemuxTest, ADefaultServesThePortsOfNobody) {
  Answer rest;
  udp_.add_default(rest);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "named"));
  deliver(udp("10.0.0.1:40000", "192.0.2.7:53", "any"));
  EXPECT_THAT(answer_.received, ElementsAre("named"));
  EXPECT_THAT(rest.received, ElementsAre("any"));
  EXPECT_EQ(rest.tickets.at(0).from, endpoint("192.0.2.7:53"));
  EXPECT_TRUE(rest.transport().reply(rest.tickets.at(0), as_bytes("later")));
  const auto from_there = [&](const char* text) {
    return is_ethernet(carries_udp(from("192.0.2.7", 53), to("10.0.0.1", 40000), payload(text)));
  };
  EXPECT_THAT(port_.written, ElementsAre(testing::_, from_there("any"), from_there("later")));
  udp_.remove_default(rest);
  deliver(udp("10.0.0.1:40000", "192.0.2.7:53", "any"));
  EXPECT_EQ(port_.drops[DropReason::unknown_udp_port], 1U);
}

TEST_F(UdpDemuxTest, AGroupIsNoSource) {
  answer_.silent = true;
  deliver(udp("10.0.0.1:40000", "224.0.0.251:42", "all"));
  EXPECT_TRUE(answer_.tickets.at(0).from.address.is_unspecified());
  EXPECT_EQ(answer_.transport().reply(answer_.tickets[0], as_bytes("x")),
            WriteResult::make_refused(DropReason::no_route))
      << "no address of ours is known yet";
}

TEST_F(UdpDemuxTest, WhoCannotBeAddedIsNotConnected) {
  struct Unwilling : Answer {
    void start_protocol() override { throw std::runtime_error("unwilling"); }
  } unwilling;
  EXPECT_THROW(udp_.add_proto(65536, unwilling), std::out_of_range);
  EXPECT_THROW(unwilling.transport(), std::logic_error);
  udp_.do_start();
  EXPECT_THROW(udp_.add_proto(43, unwilling), std::runtime_error);
  EXPECT_THROW(unwilling.transport(), std::logic_error);
  udp_.do_stop();
}

TEST_F(UdpDemuxTest, IsTheTransportUntilTheLastPortIsTakenAway) {
  udp_.add_proto(43, answer_);
  udp_.remove_proto(42, answer_);
  EXPECT_NO_THROW(answer_.transport());
  udp_.remove_proto(43, answer_);
  EXPECT_THROW(answer_.transport(), std::logic_error);
}

TEST_F(UdpDemuxTest, WhoRemovesItselfCanStillAnswer) {
  struct Once : Answer {
    explicit Once(UdpDemux& of) : udp{of} {}
    void datagram_received(const Datagram& datagram) override {
      udp.remove_proto(43, *this);
      Answer::datagram_received(datagram);
    }
    UdpDemux& udp;
  } once{udp_};
  udp_.add_proto(43, once);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:43", "hello"));
  deliver(udp("10.0.0.1:40000", "10.0.0.2:43", "again"));
  EXPECT_THAT(port_.written, testing::SizeIs(1));
}

TEST_F(UdpDemuxTest, WhatIsThrownNamesWhoThrewIt) {
  answer_.fails = true;
  EXPECT_THROW(deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello")), std::runtime_error);
  EXPECT_EQ(&ethernet_.thrower(), &answer_);
  ip_.remove_proto(17, udp_);
  struct Thrower : TransportProtocol {
    void datagram_received(const IpDatagram&) override { throw 42; }
  } thrower;
  ip_.add_proto(17, thrower);
  EXPECT_THROW(deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello")), int);
  EXPECT_EQ(&ethernet_.thrower(), &thrower);
  ip_.remove_proto(17, thrower);
  EXPECT_EQ(&ethernet_.thrower(), &ip_) << "the one in front of it is still there";
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_EQ(&ethernet_.thrower(), &ethernet_) << "nothing was thrown since";
}

TEST_F(UdpDemuxTest, ARefusalOutsideADeliveryIsCounted) {
  const Endpoint kernel = endpoint("10.0.0.1:40000");
  const auto refused = WriteResult::make_refused(DropReason::no_route);
  EXPECT_EQ(udp_.write_to(kernel, as_bytes("early")), refused) << "no port yet: nobody counts";
  ethernet_.connect(port_);
  EXPECT_EQ(udp_.write_to(kernel, as_bytes("early")), refused);
  EXPECT_EQ(port_.drops[DropReason::no_route], 1U) << "before the first packet";
  UdpDemux added;
  ip_.add_proto(17, added);
  EXPECT_EQ(added.write_to(kernel, as_bytes("early")), refused);
  EXPECT_EQ(port_.drops[DropReason::no_route], 2U) << "added while it runs";
  ip_.remove_proto(17, added);
  EXPECT_EQ(added.write_to(kernel, as_bytes("late")), refused);

  FakeTransport other;
  ethernet_.connect(other);
  other.deliver(ethernet_, packets::ethernet({}, udp("10.0.0.1:40000", "10.0.0.2:42", "hello")));
  const Endpoint unknown = endpoint("10.0.0.9:1");
  EXPECT_EQ(udp_.write_to(unknown, as_bytes("late")), refused);
  EXPECT_EQ(other.drops[DropReason::no_route], 1U) << "the port that delivered last";
  EXPECT_EQ(port_.drops[DropReason::no_route], 2U);
  ethernet_.disconnect(other);
  EXPECT_EQ(udp_.write_to(kernel, as_bytes("late")), refused);
  EXPECT_EQ(other.drops[DropReason::no_route], 1U) << "the port is not asked any more";
  ethernet_.disconnect(port_);
}

TEST_F(UdpDemuxTest, AfterAnExceptionNothingIsBeingDelivered) {
  answer_.fails = true;
  EXPECT_THROW(deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello")), std::runtime_error);
  udp_.drop(DropReason::aborted);
  EXPECT_EQ(port_.drops.total(), 0U);
}

TEST_F(UdpDemuxTest, NobodyIsAtPortZero) {
  deliver(udp("10.0.0.1:0", "10.0.0.2:42", "no answer wanted"));
  EXPECT_EQ(answer_.received.size(), 1U);
  EXPECT_EQ(answer_.last, WriteResult::make_refused(DropReason::no_route));
}

TEST_F(UdpDemuxTest, AnAnswerIsAtMost65507Bytes) {
  answer_.answer = Buffer(65'507);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "x"));
  EXPECT_EQ(answer_.last, WriteResult::make_sent());
  answer_.answer = Buffer(65'508);
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "x"));
  EXPECT_EQ(answer_.last, WriteResult::make_refused(DropReason::too_long));
}

TEST_F(UdpDemuxTest, DropsWithAReason) {
  const Buffer good = udp_datagram(endpoint("10.0.0.1:40000"), endpoint("10.0.0.2:42"), "hello");
  const auto in_ip = [](const Buffer& datagram) {
    return ipv4({.protocol = 17, .source = kernel_ip, .destination = host_ip}, datagram);
  };
  const struct {
    const char* what;
    Buffer datagram;
    DropReason reason;
  } table[] = {
      {"7 bytes", Buffer(good.begin(), good.begin() + 7), DropReason::udp_short},
      {"length 7", patched(good, 4, hex("0007")), DropReason::udp_bad_length},
      {"length beyond", patched(good, 4, hex("000e")), DropReason::udp_bad_length},
      {"checksum", patched(good, 6, hex("1234")), DropReason::udp_bad_checksum},
      {"another port", udp_datagram(endpoint("10.0.0.1:40000"), endpoint("10.0.0.2:43"), "x"),
       DropReason::unknown_udp_port},
  };
  for (const auto& row : table) {
    deliver(in_ip(row.datagram));
    EXPECT_EQ(port_.drops[row.reason],
              row.reason == DropReason::udp_bad_length && row.datagram[5] == std::byte{14} ? 2U : 1U)
        << row.what;
  }
  EXPECT_THAT(answer_.received, IsEmpty());
  deliver(in_ip(patched(good, 6, hex("0000"))));
  EXPECT_THAT(answer_.received, ElementsAre("hello")) << "no checksum is none to check";
}

}  // namespace
}  // namespace tunport
