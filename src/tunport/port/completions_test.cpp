#include <array>

#include "tunport/port/completions_internal.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;

/// A port without a protocol, for receiving super-packets datagram by datagram.
class CompletionsTest : public SuperPackets {
 protected:
  CompletionsTest() {
    port = std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tun0", PortOptions{.system = kernel});
    port->start_listening();
    interface().set_up(true);
  }
  void receive() {
    port->receive(buffer, [this](const std::error_code& ec, const Packet& packet) {
      if (ec)
        ends.push_back(ec);
      else
        heard += as_text(packet.bytes().subspan(udp4.header_length()));
      if (on_receive) on_receive();
    });
  }

  std::array<std::byte, 2048> buffer{};
  std::string heard;
  std::vector<std::error_code> ends;
  std::function<void()> on_receive;
};

TEST_F(CompletionsTest, ASuperPacketIsReceivedDatagramByDatagram) {
  inject_text("abc", 1);
  inject_text("d", 1);
  for (const char* so_far : {"a", "ab", "abc", "abcd"}) {
    clock.run_ready();
    receive();
    clock.run_ready();
    EXPECT_EQ(heard, so_far);
  }
  EXPECT_EQ(port->statistics().packets_in, 4U);
}

TEST_F(CompletionsTest, AHandlerThatReceivesAgainGetsTheNextAtOnce) {
  on_receive = [this] { receive(); };
  receive();
  inject_text("abc", 1);
  inject_text("de", 1);
  clock.run_ready();
  EXPECT_EQ(heard, "abcde");
}

TEST_F(CompletionsTest, TheHandlerIsNotCalledFromInsideReceive) {
  inject_text("ab", 1);
  receive();
  clock.run_ready();
  receive();
  EXPECT_EQ(heard, "a");
  clock.run_ready();
  EXPECT_EQ(heard, "ab");
}

TEST_F(CompletionsTest, AStopDropsWhatIsLeftOfASuperPacket) {
  inject_text("abc", 1);
  receive();
  clock.run_ready();
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(heard, "a");
  EXPECT_EQ(drops(DropReason::aborted), 2U);
  port->start_listening();
  interface().set_up(true);
  inject_text("d", 1);
  receive();
  clock.run_ready();
  EXPECT_EQ(heard, "ad");
}

TEST_F(CompletionsTest, ACancelledReceiveLeavesTheRestToTheNext) {
  inject_text("ab", 1);
  receive();
  clock.run_ready();
  receive();
  port->cancel_receive();
  clock.run_ready();
  EXPECT_THAT(ends, ElementsAre(Errc::operation_aborted));
  receive();
  clock.run_ready();
  EXPECT_EQ(heard, "ab");
}

TEST_F(CompletionsTest, AHandlerMayDestroyThePortAmidstASuperPacket) {
  on_receive = [this] {
    receive();
    port.reset();
    on_receive = {};
  };
  receive();
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_EQ(heard, "a");
  EXPECT_THAT(ends, ElementsAre(Errc::operation_aborted));
}

TEST_F(CompletionsTest, WhatIsReadUnaskedIsCountedAsTheDatagramsThatItIs) {
  port->start_reading();
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::not_listening), 3U);
  EXPECT_THAT(ends, IsEmpty());
}

}  // namespace
}  // namespace tunport
