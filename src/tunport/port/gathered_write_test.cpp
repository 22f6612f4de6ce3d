// Writes within a burst, or under a cork.
#include <array>
#include <stdexcept>

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(SuperPackets, WritesWithinABurstAreJoined) {
  accepter.on_frame = [&](const Packet&) {
    for (const Buffer& datagram : shapes::segments(tcp4, shapes::some_bytes(4000), 1000))
      EXPECT_EQ(port->write(datagram), WriteResult::make_queued());
    EXPECT_THAT(interface().collect(), IsEmpty()) << "not before the end of the burst";
  };
  start(accepter);
  interface().inject(shapes::datagram(udp4, as_bytes("go")));
  clock.run_ready();
  const auto written = interface().collect_packets();
  ASSERT_THAT(written, SizeIs(1));
  EXPECT_EQ(written[0].bytes, shapes::super_packet(tcp4, shapes::some_bytes(4000)));
  EXPECT_EQ(written[0].offload, shapes::offload_of(tcp4, 1000));
  EXPECT_EQ(port->statistics().packets_out, 4U);
  EXPECT_EQ(port->statistics().super_packets_out, 1U);
  EXPECT_EQ(port->statistics().bytes_out, written[0].bytes.size());
}

TEST_F(SuperPackets, AnAnswerToEachDatagramComesTogether) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  endpoint.on_datagram = [&](Bytes data, const Endpoint& from) { endpoint.transport().write_to(from, data); };
  start(ip);
  inject_text("aabbccd", 2);
  clock.run_ready();
  const auto written = interface().collect_packets();
  ASSERT_THAT(written, SizeIs(1));
  EXPECT_EQ(written[0].offload.kind, SegmentKind::udp);
  EXPECT_EQ(as_text(Bytes{written[0].bytes}.subspan(28)), "aabbccd");
}

TEST_F(SuperPackets, WritesToAnotherPortOfTheReactorAreJoined) {
  accepter.on_frame = [&](const Packet& packet) { other->forward(packet); };
  start(accepter);
  start_other({.system = kernel});
  const Packets datagrams = shapes::segments(tcp4, shapes::some_bytes(4000), 1000);
  for (const Buffer& datagram : datagrams) interface().inject(datagram);
  clock.run_ready();
  EXPECT_EQ(other->statistics().super_packets_out, 1U);
  EXPECT_EQ(kernel.tunnel("tun1").collect_datagrams(), datagrams);
}

TEST_F(SuperPackets, OutsideOfABurstTheyGoAtOnceButUnderACork) {
  start(accepter);
  const Packets datagrams = shapes::segments(udp4, shapes::some_bytes(300), 100);
  for (const Buffer& datagram : datagrams) EXPECT_EQ(port->write(datagram), WriteResult::make_sent());
  EXPECT_EQ(interface().collect(), datagrams);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : datagrams) EXPECT_TRUE(port->write(datagram));
    EXPECT_THAT(interface().collect(), IsEmpty());
  }
  EXPECT_THAT(interface().collect(), SizeIs(1));
}

TEST_F(SuperPackets, ABigOneGoesStraightThroughInOrder) {
  start(accepter);
  const Packets small = shapes::segments(udp4, shapes::some_bytes(300), 100);
  const Packets big = shapes::segments(udp4, shapes::some_bytes(40'000), 40'000);
  const Cork cork{clock};
  for (const Buffer& datagram : small) EXPECT_EQ(port->write(datagram), WriteResult::make_queued());
  EXPECT_EQ(port->write(big[0]), WriteResult::make_sent());
  Packets all = small;
  all.push_back(big[0]);
  EXPECT_EQ(kernel.tunnel("tun0").collect_datagrams(), all);
}

TEST_F(SuperPackets, GatheredWritesAreJoinedToo) {
  start(accepter);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(300), 100)) {
      const std::array<Bytes, 3> parts{Bytes{datagram}.first(20), Bytes{datagram}.subspan(20, 8),
                                       Bytes{datagram}.subspan(28)};
      EXPECT_TRUE(port->write_sequence(parts));
    }
  }
  EXPECT_THAT(interface().collect(), ElementsAre(shapes::super_packet(udp4, shapes::some_bytes(300))));
}

TEST_F(SuperPackets, FramesOfEtherTypeZeroAreNoIpAndStayAsTheyAre) {
  start(accepter, DeviceKind::tap);
  Packets frames =
      shapes::segments({.protocol = ip_protocol::udp, .kind = DeviceKind::tap}, shapes::some_bytes(300), 100);
  for (Buffer& frame : frames) store_be16(frame, 12, 0);
  {
    const Cork cork{clock};
    for (const Buffer& frame : frames) EXPECT_TRUE(port->write(frame));
  }
  EXPECT_EQ(interface().collect(), frames);
}

TEST_F(SuperPackets, MoreThanIsGatheredAtOnceGoesOutBetween) {
  start(accepter);
  Packets datagrams;
  for (std::uint16_t flow = 0; flow < 500; ++flow) {
    Buffer datagram = shapes::datagram(udp4, shapes::some_bytes(1000));
    store_be16(datagram, 20, flow);
    store_be16(datagram, 26, 0);  // without a checksum: not joined
    datagrams.push_back(datagram);
  }
  {
    const Cork cork{clock};
    for (const Buffer& datagram : datagrams) EXPECT_TRUE(port->write(datagram));
  }
  EXPECT_EQ(interface().collect(), datagrams);
}

TEST_F(SuperPackets, WithoutADeviceThatTakesThemNothingWaits) {
  start(accepter, {.offload = OffloadFeatures::none(), .system = kernel});
  const Cork cork{clock};
  EXPECT_EQ(port->write(shapes::datagram(udp4, as_bytes("x"))), WriteResult::make_sent());
  EXPECT_THAT(interface().collect(), SizeIs(1));
}

TEST_F(SuperPackets, AForwardedSuperPacketGoesWholeBehindWhatWasWrittenBefore) {
  const Buffer before = shapes::datagram(tcp4, as_bytes("before"));
  accepter.on_frame = [&](const Packet& packet) {
    EXPECT_TRUE(other->write(before));
    EXPECT_EQ(other->forward(packet), WriteResult::make_sent());
  };
  start(accepter);
  start_other({.system = kernel});
  inject(tcp4, 5000, 1000);
  clock.run_ready();
  const auto written = kernel.tunnel("tun1").collect_packets();
  ASSERT_THAT(written, SizeIs(2));
  EXPECT_EQ(written[0].bytes, before);
  EXPECT_EQ(written[1].bytes, shapes::super_packet(tcp4, shapes::some_bytes(5000)));
  EXPECT_EQ(written[1].offload, shapes::offload_of(tcp4, 1000));
  EXPECT_EQ(other->statistics().packets_out, 6U);
}

TEST_F(SuperPackets, ADeviceThatTakesNoneGetsDatagrams) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(other->forward(packet)); };
  start(accepter);
  start_other({.offload = OffloadFeatures::none(), .system = kernel});
  const Packets wanted = inject(tcp4, 5000, 1000);
  interface().inject(shapes::super_packet(udp4, as_bytes("left to fill")),
                     {.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 6});
  clock.run_ready();
  Packets written = kernel.tunnel("tun1").collect();
  ASSERT_THAT(written, SizeIs(6));
  EXPECT_EQ(written.back(), shapes::datagram(udp4, as_bytes("left to fill")));
  written.pop_back();
  EXPECT_EQ(written, wanted);
  EXPECT_EQ(other->statistics().packets_out, 6U);
}

TEST_F(SuperPackets, WhatWasTakenApartIsNotForwarded) {
  // Gives a packet to a protocol for plain datagrams, and forwards the packet afterwards.
  class Tee : public IpPacketProtocol {
   public:
    bool accepts_super_packets() const override { return true; }
    void frame_received(const Packet& packet) override {
      packet.for_each_plain([this](const Packet&) { ++parts; });
      result = transport().forward(packet);
    }
    int parts = 0;
    WriteResult result = WriteResult::make_sent();
  } tee;
  start(tee);
  inject(udp4, 300, 100);
  clock.run_ready();
  EXPECT_EQ(tee.parts, 3);
  EXPECT_EQ(tee.result, WriteResult::make_refused(DropReason::bad_offload));
  EXPECT_THAT(interface().collect(), IsEmpty());
  port.reset();
}

TEST_F(SuperPackets, AForwardedDatagramMayLieInTheSlabUntilTheEndOfTheBurst) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(port->forward(packet)); };
  start(accepter);
  const Packets datagrams = shapes::segments(tcp4, shapes::some_bytes(20 * 1400), 1400);
  const Cork outer{clock};  // a program's cork, longer than the burst
  for (const Buffer& datagram : datagrams) interface().inject(datagram);
  port->do_read();
  for (int i = 0; i < 20; ++i) interface().inject(shapes::datagram(udp4, shapes::some_bytes(1400, 7)));
  accepter.on_frame = {};
  port->do_read();
  EXPECT_EQ(interface().collect_datagrams(), datagrams);
  EXPECT_EQ(port->statistics().super_packets_out, 1U);
}

TEST_F(SuperPackets, DestroyingAPortWhoseBytesAreForwarded) {
  accepter.on_frame = [&](const Packet& packet) {
    other->forward(packet);
    port.reset();
  };
  start(accepter);
  start_other({.system = kernel});
  const Buffer datagram = shapes::datagram(tcp4, shapes::some_bytes(1400));
  interface().inject(datagram);
  clock.run_ready();
  EXPECT_THAT(kernel.tunnel("tun1").collect(), ElementsAre(datagram));
}

// --- where gathering ends

TEST_F(SuperPackets, NothingOvertakesTheQueueAndWhatWasJoinedStaysJoined) {
  start(accepter);
  const Packets datagrams = shapes::segments(udp4, shapes::some_bytes(300), 100);
  interface().set_writable(false);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : datagrams) port->write(datagram);
  }
  const Buffer after = shapes::datagram(udp4, as_bytes("after"));
  EXPECT_EQ(port->write(after), WriteResult::make_queued());
  EXPECT_EQ(port->statistics().packets_out, 0U);
  interface().set_writable(true);
  clock.run_ready();
  EXPECT_THAT(interface().collect(), ElementsAre(shapes::super_packet(udp4, shapes::some_bytes(300)), after));
  EXPECT_EQ(port->statistics().packets_out, 4U);
}

TEST_F(SuperPackets, AQueuedOneThatIsDroppedCountsItsDatagrams) {
  start(accepter);
  interface().set_writable(false);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(300), 100)) port->write(datagram);
  }
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::aborted), 3U);
}

TEST_F(SuperPackets, WhatAFlushCannotSendIsCountedByReason) {
  start(accepter);
  interface().set_up(false);
  {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(300), 100)) port->write(datagram);
  }
  EXPECT_EQ(drops(DropReason::link_down), 3U);
  interface().set_up(true);
  {
    const Cork cork{clock};
    port->write(shapes::datagram(udp4, as_bytes("again")));
  }
  EXPECT_THAT(interface().collect(), SizeIs(1)) << "the link is up: sent";
}

TEST_F(SuperPackets, ARefusedSuperPacketCountsItsDatagrams) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_FALSE(other->forward(packet)); };
  start(accepter);
  start_other({.system = kernel});
  kernel.tunnel("tun1").set_up(false);
  inject(tcp4, 5000, 1000);
  clock.run_ready();
  EXPECT_EQ(other->statistics().drops[DropReason::link_down], 5U);
}

TEST_F(SuperPackets, WhatAFailedStartHadWrittenIsNotLeftBehind) {
  const Buffer hello = shapes::datagram(udp4, as_bytes("hello"));
  start(accepter);
  {
    const Cork cork{clock};
    kernel.add_persistent(DeviceKind::tun, "tun1");
    kernel.tunnel("tun1").set_up(true);
    other = std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tun1", other_protocol,
                                         PortOptions{.system = kernel});
    other_protocol.on_start = [&] {
      EXPECT_TRUE(other->write(hello));
      throw std::runtime_error{"no"};
    };
    EXPECT_THROW(other->start_listening(), std::runtime_error);
    EXPECT_THAT(kernel.tunnel("tun1").collect(), ElementsAre(hello));
  }
  EXPECT_EQ(other->queued_bytes(), 0U);
}

TEST_F(SuperPackets, InterruptedFlushesGoOn) {
  start(accepter);
  kernel.fail_next(Call::write, EINTR, 3);
  {
    const Cork cork{clock};
    port->write(shapes::datagram(udp4, as_bytes("x")));
  }
  clock.run_ready();
  EXPECT_THAT(interface().collect(), SizeIs(1));
}

TEST_F(SuperPackets, WhatWasWrittenBeforeAnEndGoesOut) {
  const Buffer answer = shapes::datagram(udp4, as_bytes("bye"));
  for (const char* const end : {"stop", "lose", "lose write", "destroy"}) {
    SCOPED_TRACE(end);
    const std::string how = end;
    accepter.on_frame = [&](const Packet&) {
      EXPECT_TRUE(port->write(answer));
      if (how == "stop") port->stop_listening();
      if (how == "lose") port->lose_connection();
      if (how == "lose write") port->lose_write_connection();
      if (how == "destroy") port.reset();
    };
    kernel.add_persistent(DeviceKind::tun, "tun0");
    start(accepter);
    interface().inject(answer);
    clock.run_ready();
    EXPECT_THAT(interface().collect(), ElementsAre(answer));
    port.reset();
    kernel.tunnel("tun0").remove();
  }
}

TEST_F(SuperPackets, AFlushThatFindsTheDeviceGoneEndsThePortOnce) {
  start(accepter);
  int ends = 0;
  port->on_connection_lost([&](const std::error_code& reason) {
    EXPECT_EQ(reason, Errc::device_gone);
    ++ends;
  });
  {
    const Cork cork{clock};
    for (std::uint16_t flow = 0; flow < 3; ++flow) {
      Buffer datagram = shapes::datagram(udp4, as_bytes("x"));
      store_be16(datagram, 26, 0);
      port->write(datagram);
    }
    interface().remove();
  }
  clock.run_ready();
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(drops(DropReason::device_gone), 3U);
}

TEST_F(SuperPackets, AProducerIsPausedAfterAFlushThatFillsTheQueue) {
  start(accepter, {.queue_high_mark = 100'000, .queue_low_mark = 1000, .system = kernel});
  port->register_producer(producer, ProducerKind::push);
  interface().set_writable(false);
  producer.on_pause = [&] {
    EXPECT_EQ(port->write(shapes::datagram(udp4, as_bytes("last"))), WriteResult::make_queued());
  };
  {
    const Cork cork{clock};
    for (const Buffer& datagram : shapes::segments(tcp4, shapes::some_bytes(140'000), 1400))
      port->write(datagram);
  }
  EXPECT_EQ(producer.said, "p");
  interface().set_writable(true);
  clock.run_ready();
  const auto written = interface().collect();
  EXPECT_EQ(written.back(), shapes::datagram(udp4, as_bytes("last"))) << "behind all that was gathered";
}

// --- spinning

TEST_F(SuperPackets, SpinningLooksAgainBeforeItSleeps) {
  start(decliner, {.spin = std::chrono::seconds{1}, .system = kernel});
  interface().inject(shapes::datagram(udp4, as_bytes("x")));
  kernel.fail_next(Call::read, EAGAIN, 5);
  decliner.on_frame = [&](const Packet&) { port->pause_producing(); };
  port->do_read();
  EXPECT_THAT(decliner.frames, SizeIs(1));
}

TEST_F(SuperPackets, SpinningEndsAndHasAnsweredBefore) {
  start(accepter, {.spin = std::chrono::milliseconds{5}, .system = kernel});
  accepter.on_frame = [&](const Packet& packet) { port->forward(packet); };
  interface().inject(shapes::datagram(udp4, as_bytes("x")));
  const auto begin = Clock::now();
  port->do_read();
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds{5});
  EXPECT_THAT(interface().collect(), SizeIs(1));
}

}  // namespace
}  // namespace tunport
