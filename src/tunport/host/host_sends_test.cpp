/// What a host sends unasked, and answers later.

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
using testing::SizeIs;

/// Records tickets, and sends what the test says.
struct Sender : DatagramProtocol {
  void datagram_received(const Datagram& datagram) override { tickets.push_back(datagram.reply_to()); }
  WriteResult write(const char* to, const char* text) {
    return transport().write_to(Endpoint::parse(to).value(), as_bytes(text));
  }
  std::vector<ReplyTo> tickets;
};

class HostSends : public HostTest {
 protected:
  HostSends() {
    host_.add_udp(42, sender_);
    host_.ethernet().connect(tap_);
  }
  ~HostSends() override {
    host_.ethernet().disconnect(tap_);
    host_.remove_udp(42, sender_);
  }

  Sender sender_;
};

TEST_F(HostSends, AnUnknownReceiverIsAskedForAndOneDatagramWaits) {
  EXPECT_EQ(sender_.write("10.0.0.1:9", "first"), WriteResult::make_queued());
  EXPECT_EQ(sender_.write("10.0.0.1:9", "latest"), WriteResult::make_queued());
  EXPECT_THAT(tap_.written, ElementsAre(is_arp_request(from(host_mac), from("10.0.0.2"), to("10.0.0.1"))));
  EXPECT_EQ(host_.statistics().arp_requests, 1U) << "once a second";
  EXPECT_EQ(tap_.drops[DropReason::no_route], 1U) << "the first gave way to the latest";
  tap_.written.clear();
  deliver(arp_reply(kernel_ip, kernel_mac, host_ip, host_mac));
  EXPECT_THAT(tap_.written, ElementsAre(is_ethernet(
                                from(host_mac), to(kernel_mac),
                                carries_udp(from("10.0.0.2", 42), to("10.0.0.1", 9), payload("latest")))));
  EXPECT_EQ(sender_.write("10.0.0.1:10", "known"), WriteResult::make_sent());
  EXPECT_THAT(tap_.written, SizeIs(2));
  tap_.clock.advance(2s);
  EXPECT_EQ(tap_.drops.total(), 1U);
}

TEST_F(HostSends, AfterASecondInVainThereIsNoRoute) {
  sender_.write("10.0.0.1:9", "first");
  tap_.clock.advance(999ms);
  EXPECT_EQ(tap_.drops[DropReason::no_route], 0U);
  tap_.clock.advance(1ms);
  EXPECT_EQ(tap_.drops[DropReason::no_route], 1U);
  tap_.written.clear();
  deliver(arp_reply(kernel_ip, kernel_mac, host_ip, host_mac));
  EXPECT_THAT(tap_.written, IsEmpty()) << "nobody waits for that any more";
  EXPECT_EQ(tap_.drops[DropReason::arp_not_for_us], 1U);
  sender_.write("10.0.0.1:9", "again");
  EXPECT_THAT(tap_.written, SizeIs(1)) << "asked again";
}

TEST_F(HostSends, AForgedAnswerIsNotBelieved) {
  sender_.write("10.0.0.1:9", "x");
  tap_.written.clear();
  deliver(arp_reply(ip("10.0.0.3"), kernel_mac, host_ip, host_mac));
  deliver(arp_reply(kernel_ip, MacAddress::broadcast(), host_ip, host_mac));
  deliver(arp_reply(kernel_ip, kernel_mac, ip("10.0.0.9"), host_mac));
  EXPECT_THAT(tap_.written, IsEmpty());
  EXPECT_EQ(tap_.drops[DropReason::arp_not_for_us], 3U);
}

TEST_F(HostSends, OffTheLinkThereIsNoRoute) {
  EXPECT_EQ(sender_.write("192.0.2.1:9", "x"), WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(sender_.write("10.0.0.255:9", "x"), WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(sender_.write("10.0.0.2:9", "to ourselves"), WriteResult::make_refused(DropReason::no_route));
  EXPECT_THAT(tap_.written, IsEmpty());
}

TEST_F(HostSends, WhatWaitsIsDroppedWithItsPort) {
  sender_.write("10.0.0.1:9", "x");
  host_.ethernet().disconnect(tap_);
  EXPECT_EQ(tap_.drops[DropReason::aborted], 1U);
  tap_.clock.advance(2s);
  EXPECT_EQ(tap_.drops.total(), 1U);
  host_.ethernet().connect(tap_);
}

TEST_F(HostSends, AnswersComeLaterByTheTicket) {
  deliver_ip(udp("10.0.0.1:40000", "10.0.0.2:42", "question"));
  tap_.written.clear();
  EXPECT_TRUE(sender_.transport().reply(sender_.tickets.at(0), as_bytes("later")));
  EXPECT_THAT(
      tap_.written,
      ElementsAre(is_ethernet(carries_udp(from("10.0.0.2", 42), to("10.0.0.1", 40000), payload("later")))));
}

}  // namespace
}  // namespace tunport
