// Super-packets that the kernel refuses.
#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Demotion : public SuperPackets {
 protected:
  ~Demotion() override { port.reset(); }
  void write_all(const Packets& packets) {
    const Cork cork{clock};
    for (const Buffer& datagram : packets) port->write(datagram);
  }
};

TEST_F(Demotion, AKindThatTheKernelRefusesIsSegmentedFromThenOn) {
  std::string said;
  set_log_sink([&](LogLevel, std::string_view, std::string_view what) { said += what; });
  start(accepter);
  interface().refuse_super_packets(SegmentKind::udp);
  const Packets datagrams = shapes::segments(udp4, shapes::some_bytes(300), 100);
  const auto write_all = [&](const Packets& packets) {
    const Cork cork{clock};
    for (const Buffer& datagram : packets) port->write(datagram);
  };
  write_all(datagrams);
  EXPECT_EQ(interface().collect(), datagrams);
  EXPECT_EQ(port->statistics().packets_out, 3U);
  EXPECT_THAT(said, testing::HasSubstr("refuses super-packets of UDP"));
  interface().refuse_super_packets(SegmentKind::udp, false);
  write_all(datagrams);
  EXPECT_EQ(interface().collect(), datagrams) << "not tried again";
  write_all(shapes::segments(tcp4, shapes::some_bytes(300), 100));
  EXPECT_THAT(interface().collect(), SizeIs(1)) << "other kinds are as they were";
}

TEST_F(Demotion, OneRefusedForItsManySegmentsDemotesNothing) {
  // UDP_MAX_SEGMENTS was 64 before Linux 6.9; a forwarded packet may come from a newer kernel.
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(port->forward(packet)); };
  start(accepter);
  kernel.fail_next(Call::write, EINVAL);
  const Packets datagrams = inject(udp4, 6500, 100);
  clock.run_ready();
  EXPECT_EQ(interface().collect(), datagrams);
  inject(udp4, 300, 100);
  clock.run_ready();
  EXPECT_THAT(interface().collect(), SizeIs(1)) << "whole, as before";
}

TEST_F(Demotion, AForwardedOneIsSegmentedToo) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(port->forward(packet)); };
  start(accepter);
  interface().refuse_super_packets(SegmentKind::tcp4);
  const Packets wanted = inject(tcp4, 3000, 1000);
  clock.run_ready();
  EXPECT_EQ(interface().collect(), wanted);
}

TEST_F(Demotion, APacketThatNobodyTakesDemotesNothing) {
  start(accepter);
  kernel.fail_next(Call::write, EINVAL, 4);  // the super-packet, and each of its segments
  const auto write_all = [&] {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(300), 100)) port->write(datagram);
  };
  write_all();
  EXPECT_THAT(interface().collect(), IsEmpty());
  EXPECT_EQ(drops(DropReason::kernel_refused), 3U);
  write_all();
  EXPECT_THAT(interface().collect(), SizeIs(1));
}

TEST_F(Demotion, ASegmentWhoseWriteIsInterruptedIsWrittenLater) {
  start(accepter);
  kernel.fail_next(Call::write, EINVAL);  // the super-packet
  kernel.fail_next(Call::write, EINTR, 2);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(300), 100)) port->write(datagram);
  }
  clock.run_ready();
  EXPECT_THAT(interface().collect_datagrams(), SizeIs(3));
  EXPECT_EQ(port->statistics().drops.total(), 0U);
}

// --- in the middle of a super-packet

TEST_F(Demotion, OneThatIsTakenInPartDemotesNothing) {
  start(accepter);
  const Packets datagrams = shapes::segments(udp4, shapes::some_bytes(300), 100);
  kernel.fail_next(Call::write, EINVAL, 2);  // the super-packet, and its first segment
  write_all(datagrams);
  EXPECT_THAT(interface().collect(), ElementsAre(datagrams[1], datagrams[2]));
  EXPECT_EQ(port->statistics().packets_out, 2U);
  EXPECT_EQ(drops(DropReason::kernel_refused), 1U);
  write_all(datagrams);
  EXPECT_THAT(interface().collect(), SizeIs(1)) << "whole, as before";
}

TEST_F(Demotion, WhatCannotHelpTheRestEndsIt) {
  start(accepter);
  kernel.fail_next(Call::write, EINVAL);
  kernel.fail_next(Call::write, ENOBUFS);
  write_all(shapes::segments(udp4, shapes::some_bytes(300), 100));
  EXPECT_THAT(interface().collect(), IsEmpty());
  EXPECT_EQ(drops(DropReason::no_buffers), 3U);
}

TEST_F(Demotion, SegmentsBehindAFullBufferWaitInOrder) {
  for (const bool is_forwarded : {false, true}) {
    SCOPED_TRACE(is_forwarded);
    accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(port->forward(packet)); };
    start(accepter);
    std::error_code ec;
    port->device().set_send_buffer(150, ec);
    ASSERT_FALSE(ec) << ec.message();
    interface().refuse_super_packets(SegmentKind::udp);
    Packets wanted = shapes::segments(udp4, shapes::some_bytes(700), 100);
    if (is_forwarded) {
      inject(udp4, 700, 100);
      clock.run_ready();
    } else {
      write_all(wanted);
    }
    wanted.push_back(shapes::datagram(tcp4, as_bytes("behind")));
    EXPECT_EQ(port->write(wanted.back()), WriteResult::make_queued());
    Packets written;
    for (int i = 0; i < 10; ++i) {
      for (Buffer& datagram : interface().collect()) written.push_back(std::move(datagram));
      clock.run_ready();
    }
    EXPECT_EQ(written, wanted);
    EXPECT_EQ(port->statistics().packets_out, 8U);
    EXPECT_EQ(port->statistics().drops.total(), 0U);
    EXPECT_EQ(port->queued_bytes(), 0U);
    port.reset();
  }
}

TEST_F(Demotion, AQueuedOneThatIsSegmentedGoesOnWhereItWas) {
  start(accepter);
  std::error_code ec;
  port->device().set_send_buffer(150, ec);
  ASSERT_FALSE(ec) << ec.message();
  Packets wanted = shapes::segments(udp4, shapes::some_bytes(300), 100);
  interface().set_writable(false);
  write_all(wanted);
  wanted.push_back(shapes::datagram(udp4, as_bytes("behind")));
  EXPECT_EQ(port->write(wanted.back()), WriteResult::make_queued());
  interface().refuse_super_packets(SegmentKind::udp);
  interface().set_writable(true);
  clock.run_ready();
  EXPECT_EQ(interface().collect(), (Packets{wanted[0], wanted[1]}));
  clock.run_ready();
  EXPECT_EQ(interface().collect(), (Packets{wanted[2], wanted[3]}));
  EXPECT_EQ(port->statistics().packets_out, 4U);
}

TEST_F(Demotion, TheRestOfOneThatIsDroppedIsCountedOnce) {
  start(accepter);
  std::error_code ec;
  port->device().set_send_buffer(150, ec);
  ASSERT_FALSE(ec) << ec.message();
  interface().refuse_super_packets(SegmentKind::udp);
  const Packets datagrams = shapes::segments(udp4, shapes::some_bytes(500), 100);
  write_all(datagrams);
  EXPECT_EQ(interface().collect(), (Packets{datagrams[0], datagrams[1]}));
  const Buffer after = shapes::datagram(udp4, as_bytes("after"));
  EXPECT_EQ(port->write(after), WriteResult::make_queued());
  interface().set_up(false);
  clock.advance(std::chrono::seconds{2});  // the queue is tried, though the reactor does not report writable
  EXPECT_EQ(drops(DropReason::link_down), 4U) << "three segments, and what was behind";
  interface().set_up(true);
  EXPECT_TRUE(port->write(after));
  EXPECT_THAT(interface().collect(), ElementsAre(after));
}

TEST_F(Demotion, TcpInManySegmentsDemotesToo) {
  start(accepter);
  interface().refuse_super_packets(SegmentKind::tcp4);
  const Packets datagrams = shapes::segments(tcp4, shapes::some_bytes(6500), 100);
  write_all(datagrams);
  EXPECT_EQ(interface().collect(), datagrams);
  interface().refuse_super_packets(SegmentKind::tcp4, false);
  write_all(datagrams);
  EXPECT_EQ(interface().collect(), datagrams) << "not tried again";
}

}  // namespace
}  // namespace tunport
