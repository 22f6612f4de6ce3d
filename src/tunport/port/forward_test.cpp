// Forwarding from port to port: times, sources, and refused destinations.
#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Forward : public SuperPackets {
 protected:
  ~Forward() override { other.reset(); }
  MemorySystem::Tunnel other_interface() { return kernel.tunnel("tun1"); }

  std::string heard;
};

TEST_F(Forward, ASuperPacketToADeviceOfTheOtherKindIsRefused) {
  accepter.on_frame = [&](const Packet& packet) {
    EXPECT_EQ(other->forward(packet), WriteResult::make_refused(DropReason::bad_offload));
  };
  start(accepter);
  for (const OffloadFeatures& takes : {OffloadFeatures::all(), OffloadFeatures::none()}) {
    other = std::make_unique<TuntapPort>(clock, DeviceKind::tap, "tap1", other_protocol,
                                         PortOptions{.offload = takes, .system = kernel});
    other->start_listening();
    kernel.tunnel("tap1").set_up(true);
    inject(udp4, 300, 100);
    clock.run_ready();
    EXPECT_EQ(other->statistics().drops[DropReason::bad_offload], 3U);
    EXPECT_THAT(kernel.tunnel("tap1").collect(), IsEmpty());
  }
}

TEST_F(Forward, ATeeMayTakeThePayloadsAndForwardTheWhole) {
  accepter.on_frame = [&](const Packet& packet) {
    packet.for_each_payload([&](Bytes payload) { heard += as_text(payload); });
    EXPECT_EQ(other->forward(packet), WriteResult::make_sent());
  };
  start(accepter);
  start_other({.system = kernel});
  inject_text("abc", 1);
  inject_text("def", 1);
  clock.run_ready();
  EXPECT_EQ(heard, "abcdef");
  EXPECT_THAT(other_interface().collect(), ElementsAre(shapes::super_packet(udp4, as_bytes("abc")),
                                                       shapes::super_packet(udp4, as_bytes("def"))));
}

TEST_F(Forward, ToAPortOfAnotherReactorCopies) {
  ManualReactor slower;
  other = std::make_unique<TuntapPort>(slower, DeviceKind::tun, "tun1", other_protocol,
                                       PortOptions{.system = kernel});
  other->start_listening();
  other_interface().set_up(true);
  start(accepter);
  const Buffer datagram = shapes::datagram(tcp4, shapes::some_bytes(1400));
  {
    const Cork cork{slower};
    accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(other->forward(packet)); };
    interface().inject(datagram);
    clock.run_ready();
    accepter.on_frame = {};
    interface().inject(shapes::datagram(udp4, shapes::some_bytes(1400, 7)));
    clock.run_ready();
  }
  EXPECT_THAT(other_interface().collect(), ElementsAre(datagram));
  other.reset();
}

TEST_F(Forward, WhatTheKernelDoesNotTakeIsCopiedBeforeTheSlabIsUsedAgain) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(other->forward(packet)); };
  start(accepter);
  start_other({.system = kernel});
  const Packets datagrams = shapes::segments(tcp4, shapes::some_bytes(20 * 1400), 1400);
  other_interface().set_writable(false);
  for (const Buffer& datagram : datagrams) interface().inject(datagram);
  clock.run_ready();
  EXPECT_NE(other->queued_bytes(), 0U);
  accepter.on_frame = {};
  for (int i = 0; i < 20; ++i) interface().inject(shapes::datagram(udp4, shapes::some_bytes(1400, 7)));
  clock.run_ready();
  EXPECT_THAT(other_interface().collect(), IsEmpty());
  other_interface().set_writable(true);
  clock.run_ready();
  EXPECT_EQ(other->statistics().super_packets_out, 1U);
  EXPECT_EQ(other_interface().collect_datagrams(), datagrams);
}

TEST_F(Forward, WhatIsForwardedIsAsItWasThoughItsChecksumIsFilledLater) {
  accepter.on_frame = [&](const Packet& packet) {
    EXPECT_TRUE(other->forward(packet));
    packet.for_each_plain([](const Packet&) {});
  };
  start(accepter);
  start_other({.system = kernel});
  // A packet as within a tunnel, or behind many extension headers.
  const Buffer packet = shapes::datagram(udp4, shapes::some_bytes(1400));
  const PacketOffload left{.checksum = ChecksumState::to_fill, .checksum_start = 200, .checksum_offset = 6};
  interface().inject(packet, left);
  clock.run_ready();
  const auto written = other_interface().collect_packets();
  ASSERT_THAT(written, SizeIs(1));
  EXPECT_EQ(written[0].bytes, packet);
  EXPECT_EQ(written[0].offload, left);
}

TEST_F(Forward, APortThatIsResumedByTheFlushOfItsBurstGoesOn) {
  start_other({.max_packet_size = 1100,
               .queue_limit = 200'000,
               .queue_high_mark = 3000,
               .queue_low_mark = 1000,
               .system = kernel});
  other->register_producer(producer, ProducerKind::push);
  producer.on_pause = [&] { port->resume_producing(); };
  other_interface().set_writable(false);
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  endpoint.on_datagram = [&](Bytes, const Endpoint&) {
    if (endpoint.payloads.size() != 2) return;
    for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(4000), 1000))
      EXPECT_TRUE(other->write(datagram));
    port->pause_producing();
  };
  start(ip);
  inject_text("abcd", 1);
  clock.run_ready();
  EXPECT_EQ(producer.said, "p");
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b", "c", "d"));
}

}  // namespace
}  // namespace tunport
