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
  void datagram_received(Bytes data, const Endpoint& from) override {
    received.emplace_back(as_text(data));
    last = transport().write_to(other.value_or(from), answer.empty() ? data : Bytes{answer});
    if (fails) throw std::runtime_error("after answering");
  }
  std::vector<std::string> received;
  std::optional<Endpoint> other;
  Buffer answer;
  bool fails = false;
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

TEST_F(UdpDemuxTest, OnlyTheSenderCanBeAnswered) {
  answer_.other = endpoint("10.0.0.9:1");
  deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  EXPECT_EQ(answer_.last, WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(port_.drops[DropReason::no_route], 1U);
  EXPECT_EQ(udp_.write_to(endpoint("10.0.0.1:40000"), as_bytes("late")),
            WriteResult::make_refused(DropReason::no_route))
      << "the datagram was delivered, the way back forgotten";
  EXPECT_THAT(port_.written, IsEmpty());
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
  EXPECT_EQ(&answer_.transport(), &udp_);
  udp_.remove_proto(43, answer_);
  EXPECT_THROW(answer_.transport(), std::logic_error);
}

TEST_F(UdpDemuxTest, WhoRemovesItselfCanStillAnswer) {
  struct Once : Answer {
    explicit Once(UdpDemux& of) : udp{of} {}
    void datagram_received(Bytes data, const Endpoint& from) override {
      udp.remove_proto(43, *this);
      Answer::datagram_received(data, from);
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
  EXPECT_EQ(udp_.write_to(kernel, as_bytes("late")), refused);
  EXPECT_EQ(other.drops[DropReason::no_route], 1U) << "the port that delivered last";
  EXPECT_EQ(port_.drops[DropReason::no_route], 2U);
  ethernet_.disconnect(other);
  EXPECT_EQ(udp_.write_to(kernel, as_bytes("late")), refused);
  EXPECT_EQ(other.drops[DropReason::no_route], 1U) << "the port is not asked any more";
  ethernet_.disconnect(port_);
}

TEST_F(UdpDemuxTest, TheWayBackIsForgottenAlsoAfterAnException) {
  answer_.fails = true;
  EXPECT_THROW(deliver(udp("10.0.0.1:40000", "10.0.0.2:42", "hello")), std::runtime_error);
  EXPECT_EQ(udp_.write_to(endpoint("10.0.0.1:40000"), as_bytes("late")),
            WriteResult::make_refused(DropReason::no_route));
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
