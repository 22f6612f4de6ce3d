// Delivery of super-packets, whole and in parts, and acts of protocols in between.
#include <stdexcept>

#include "tunport/protocol/ethernet_demux.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(SuperPackets, WhoDeclinesThemGetsPlainDatagrams) {
  for (const Shape& shape : shapes::all()) {
    SCOPED_TRACE(shape.name());
    decliner.frames.clear();
    start(decliner, shape.kind);
    const Packets wanted = inject(shape, 5000, 1400);
    clock.run_ready();
    EXPECT_THAT(decliner.frames, ElementsAreArray(wanted));
    EXPECT_EQ(port->statistics().packets_in, 4U);
    EXPECT_EQ(port->statistics().super_packets_in, 1U);
    port.reset();
  }
}

TEST_F(SuperPackets, WhoAcceptsThemGetsThemWhole) {
  start(accepter);
  const Buffer payload = shapes::some_bytes(60'000);
  interface().inject(shapes::super_packet(tcp4, payload), shapes::offload_of(tcp4, 1448));
  clock.run_ready();
  EXPECT_THAT(accepter.frames, ElementsAre(shapes::super_packet(tcp4, payload)));
  EXPECT_THAT(accepter.offloads, ElementsAre(shapes::offload_of(tcp4, 1448)));
}

TEST_F(SuperPackets, AChecksumLeftToFillIsFilledForWhoDeclines) {
  const PacketOffload left = {.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 6};
  const Buffer packet = shapes::super_packet(udp4, as_bytes("hello"));
  start(decliner);
  interface().inject(packet, left);
  clock.run_ready();
  EXPECT_THAT(decliner.frames, ElementsAre(shapes::datagram(udp4, as_bytes("hello"))));

  port.reset();
  start(accepter);
  interface().inject(packet, left);
  clock.run_ready();
  EXPECT_THAT(accepter.frames, ElementsAre(packet)) << "who takes it as it is need not pay";
  EXPECT_THAT(accepter.offloads, ElementsAre(left));
}

/// A checksum left to fill that is not the datagram's own.
PacketOffload filled_at(std::uint16_t start, std::uint16_t offset) {
  return {.checksum = ChecksumState::to_fill, .checksum_start = start, .checksum_offset = offset};
}

TEST_F(SuperPackets, AChecksumWithinTheIpHeaderIsNone) {
  const Buffer packet = shapes::super_packet(udp4, as_bytes("hello"));
  for (FrameProtocol* protocol :
       {static_cast<FrameProtocol*>(&accepter), static_cast<FrameProtocol*>(&decliner)}) {
    start(*protocol);
    for (const std::uint16_t at : {std::uint16_t{0}, std::uint16_t{12}, std::uint16_t{18}})
      interface().inject(packet, filled_at(at, 0));
    interface().inject(packet, filled_at(0, 26));
    clock.run_ready();
    EXPECT_EQ(port->statistics().drops[DropReason::bad_offload], 4U);
    port.reset();
  }
  EXPECT_THAT(accepter.frames, IsEmpty());
  EXPECT_THAT(decliner.frames, IsEmpty());
}

TEST_F(SuperPackets, WhoLooksRefusesAChecksumThatIsNotTheDatagramsOwn) {
  const Buffer packet = shapes::super_packet(udp4, as_bytes("a datagram in a tunnel"));
  start(accepter);
  interface().inject(packet, filled_at(28, 6));
  clock.run_ready();
  EXPECT_THAT(accepter.frames, ElementsAre(packet));
  port.reset();

  udp.add_proto(53, endpoint);
  ip.add_proto(ip_protocol::udp, udp);
  start(ip);
  interface().inject(packet, filled_at(28, 6));
  clock.run_ready();
  EXPECT_EQ(port->statistics().drops[DropReason::bad_offload], 1U);
  EXPECT_THAT(endpoint.payloads, IsEmpty());
  interface().inject(packet, filled_at(20, 6));
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, SizeIs(1));
  port.reset();
}

TEST_F(SuperPackets, LongHeadersAndThoseEnRouteComeApart) {
  for (const Shape& shape : shapes::long_headers()) {
    SCOPED_TRACE(shape.name());
    decliner.frames.clear();
    start(decliner, shape.kind);
    const Packets wanted = inject(shape, 5000, 1400);
    clock.run_ready();
    EXPECT_THAT(decliner.frames, ElementsAreArray(wanted));
    EXPECT_EQ(port->statistics().super_packets_in, 1U);
    port.reset();
  }
}

TEST_F(SuperPackets, OffloadOffBringsSingleDatagrams) {
  start(accepter, {.offload = OffloadFeatures::none(), .system = kernel});
  EXPECT_EQ(port->device().capabilities().framing, 0U);
  const Packets wanted = inject(udp4, 3000, 1000);
  clock.run_ready();
  EXPECT_THAT(accepter.frames, ElementsAreArray(wanted));
}

TEST_F(SuperPackets, AKernelWithoutUsoGivesTcpOnly) {
  kernel.set_knows_uso(false);
  start(accepter);
  const Packets wanted = inject(udp4, 3000, 1000);
  inject(tcp4, 3000, 1000);
  clock.run_ready();
  ASSERT_THAT(accepter.frames, SizeIs(4));
  EXPECT_EQ(accepter.offloads.back().kind, SegmentKind::tcp4);
  EXPECT_EQ(accepter.offloads.front().kind, SegmentKind::none);
}

TEST_F(SuperPackets, LongDatagramsAreStillCutOffAtTheLargestPacketSize) {
  start(accepter, {.max_packet_size = 1000, .system = kernel});
  inject(udp4, 3000, 900);
  interface().inject(shapes::datagram(udp4, shapes::some_bytes(1200)));
  clock.run_ready();
  ASSERT_THAT(accepter.frames, SizeIs(2));
  EXPECT_EQ(accepter.frames[0].size(), 3028U) << "a super-packet is not a datagram";
  EXPECT_EQ(accepter.frames[1].size(), 1000U);
  EXPECT_TRUE(accepter.truncated);
}

// --- in parts

TEST_F(SuperPackets, AUdpEndpointGetsSlices) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  start(ip);
  inject_text("aabbccddx", 2);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("aa", "bb", "cc", "dd", "x"));
}

TEST_F(SuperPackets, AUdpEndpointBehindVlanTagsGetsSlices) {
  EthernetDemux ethernet{{.any_vlan = true}};
  ethernet.add_proto(ethertype::ipv4, ip);
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  start(ethernet, DeviceKind::tap);
  inject_text("aabbc", 2, on_tap);
  clock.run_ready();
  port.reset();
  EXPECT_THAT(endpoint.payloads, ElementsAre("aa", "bb", "c"));
}

/// The ways of delivery in parts: to a protocol that declines super-packets, at each floor.
class InParts : public SuperPackets, public testing::WithParamInterface<std::string> {
 protected:
  ~InParts() override { port.reset(); }

  class Link : public NetworkProtocol {
   public:
    void packet_received(Bytes payload, const Arrival& /*arrival*/) override {
      on_payload(payload.subspan(28));
    }
    std::function<void(Bytes)> on_payload;
  };
  class Datagrams : public TransportProtocol {
   public:
    void datagram_received(const IpDatagram& datagram) override { on_payload(datagram.payload().subspan(8)); }
    std::function<void(Bytes)> on_payload;
  };

  /// Starts a port behind which `hear` gets the payload of each datagram.
  void listen() {
    const auto hear_payload = [this](Bytes payload) {
      heard += as_text(payload);
      heard += ' ';
      if (hear) hear();
    };
    const bool tap = GetParam().starts_with("ethernet");
    shape.kind = tap ? DeviceKind::tap : DeviceKind::tun;
    decliner.on_frame = [=, this](const Packet& packet) {
      hear_payload(packet.bytes().subspan(shape.header_length()));
    };
    link.on_payload = datagrams.on_payload = hear_payload;
    endpoint.on_datagram = [=](Bytes data, const Endpoint&) { hear_payload(data); };
    if (GetParam() == "port") {
      start(decliner);
    } else if (GetParam() == "ethernet") {
      ethernet.add_proto(ethertype::ipv4, link);
      start(ethernet, DeviceKind::tap);
    } else {
      if (GetParam() == "ethernet/ip/udp")
        ip.add_proto(ip_protocol::udp, udp);
      else
        ip.add_proto(ip_protocol::udp, datagrams);
      udp.add_proto(53, endpoint);
      ethernet.add_proto(ethertype::ipv4, ip);
      if (tap)
        start(ethernet, DeviceKind::tap);
      else
        start(ip);
    }
  }
  void send(const std::string& letters) { inject_text(letters, 1, shape); }

  Shape shape = udp4;
  EthernetDemux ethernet;
  Link link;
  Datagrams datagrams;
  std::string heard;
  std::function<void()> hear;
};

INSTANTIATE_TEST_SUITE_P(Floors, InParts,
                         testing::Values("port", "ethernet", "ip", "ethernet/ip", "ethernet/ip/udp"),
                         [](const auto& floor) {
                           std::string name = floor.param;
                           std::ranges::replace(name, '/', '_');
                           return name;
                         });

TEST_P(InParts, EachDatagramComesOnce) {
  listen();
  send("abc");
  send("de");
  clock.run_ready();
  EXPECT_EQ(heard, "a b c d e ");
}

TEST_P(InParts, APauseTakesEffectBehindTheLastOfThem) {
  listen();
  hear = [&] {
    if (heard == "a b ") port->pause_producing();
  };
  send("abcde");
  send("fg");
  clock.run_ready();
  EXPECT_EQ(heard, "a b c d e ");
  port->resume_producing();
  clock.run_ready();
  EXPECT_EQ(heard, "a b c d e f g ");
  EXPECT_EQ(port->statistics().packets_in, 7U);
}

TEST_P(InParts, AnOrderlyEndDropsTheRestAndCountsIt) {
  listen();
  hear = [&] { port->lose_connection(); };
  send("abc");
  send("de");
  clock.run_ready();
  EXPECT_EQ(heard, "a ");
  EXPECT_EQ(drops(DropReason::aborted), 2U);
}

TEST_P(InParts, PausingAndResumingWithinACallChangesNothing) {
  listen();
  hear = [&] {
    port->pause_producing();
    port->resume_producing();
  };
  send("abc");
  clock.run_ready();
  EXPECT_EQ(heard, "a b c ");
}

TEST_P(InParts, StoppingDropsTheRestAndCountsIt) {
  listen();
  hear = [&] { port->stop_listening(); };
  send("abc");
  clock.run_ready();
  EXPECT_EQ(heard, "a ");
  EXPECT_EQ(drops(DropReason::aborted), 2U);
  hear = {};
  port->start_listening();
  interface().set_up(true);
  send("de");
  clock.run_ready();
  EXPECT_EQ(heard, "a d e ");
}

TEST_P(InParts, AnExceptionCostsOneDatagram) {
  listen();
  hear = [&] {
    if (heard == "a b ") throw std::runtime_error{"b"};
  };
  send("abcd");
  clock.run_ready();
  EXPECT_EQ(heard, "a b c d ");
  EXPECT_EQ(port->statistics().exceptions, 1U);
}

TEST_P(InParts, DestroyingThePortEndsIt) {
  listen();
  hear = [&] { port.reset(); };
  send("abcd");
  clock.run_ready();
  EXPECT_EQ(heard, "a ");
}

TEST_F(SuperPackets, AnUnknownUdpPortIsCountedForEachDatagram) {
  ip.add_proto(ip_protocol::udp, udp);
  start(ip);
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::unknown_udp_port), 3U);
}

TEST_F(SuperPackets, AWrongChecksumIsFoundUnlessSomebodyVouches) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  start(ip);
  Buffer wrong = shapes::datagram(udp4, as_bytes("hello"));
  wrong.back() ^= std::byte{1};
  interface().inject(wrong);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::udp_bad_checksum), 1U);
  EXPECT_THAT(endpoint.payloads, IsEmpty());
}

TEST_F(SuperPackets, WhoLeavesAnotherFieldToFillVouchesForNothing) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  start(ip);
  Buffer wrong = shapes::datagram(udp4, as_bytes("0123456789abcdef"));
  wrong.back() ^= std::byte{1};
  for (const auto& [start_at, offset] : {std::pair{20, 16}, {20, 8}, {24, 2}, {10, 16}}) {
    interface().inject(wrong, {.checksum = ChecksumState::to_fill,
                               .checksum_start = static_cast<std::uint16_t>(start_at),
                               .checksum_offset = static_cast<std::uint16_t>(offset)});
    clock.run_ready();
    EXPECT_THAT(endpoint.payloads, IsEmpty()) << start_at << ", " << offset;
  }
  EXPECT_EQ(drops(DropReason::udp_bad_checksum), 2U);
  EXPECT_EQ(drops(DropReason::bad_offload), 2U);
  interface().inject(wrong, {.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 6});
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, SizeIs(1)) << "the kernel's own, which has none yet";
}

TEST_F(SuperPackets, PayloadsComeThoughThePortIsPausedBeforeTheFirst) {
  start(accepter);
  std::string heard;
  accepter.on_frame = [&](const Packet& packet) {
    port->pause_producing();
    packet.for_each_payload([&](Bytes payload) { heard += as_text(payload); });
  };
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_EQ(heard, "abc");
}

}  // namespace
}  // namespace tunport
