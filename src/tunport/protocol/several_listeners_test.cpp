// Several protocols behind a number: each gets its packets, independent of the acts of the rest.
#include "tunport/protocol/ethernet_demux.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;

class SeveralListeners : public SuperPackets {
 protected:
  ~SeveralListeners() override { port.reset(); }

  EthernetDemux ethernet{{.any_vlan = true}};
  IpDemux other_ip;
  UdpDemux other_udp;
  Endpoints other_endpoint;
};

TEST_F(SeveralListeners, OfAnIpProtocolGetEachDatagramOfASuperPacket) {
  ip.add_proto(ip_protocol::udp, udp);
  ip.add_proto(ip_protocol::udp, other_udp);
  udp.add_proto(53, endpoint);
  other_udp.add_proto(53, other_endpoint);
  start(ip);
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b", "c"));
  EXPECT_THAT(other_endpoint.payloads, ElementsAre("a", "b", "c"));
  EXPECT_EQ(port->statistics().drops.total(), 0U);
}

TEST_F(SeveralListeners, OfAnEtherTypeGetEachDatagramOfASuperPacket) {
  ethernet.add_proto(ethertype::ipv4, ip);
  ethernet.add_proto(ethertype::ipv4, other_ip);
  ip.add_proto(ip_protocol::udp, udp);
  other_ip.add_proto(ip_protocol::udp, other_udp);
  udp.add_proto(53, endpoint);
  other_udp.add_proto(53, other_endpoint);
  start(ethernet, DeviceKind::tap);
  inject_text("abc", 1, on_tap);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b", "c"));
  EXPECT_THAT(other_endpoint.payloads, ElementsAre("a", "b", "c"));
}

TEST_F(SeveralListeners, OfAUdpPortGetEachSliceOfASuperPacket) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  udp.add_proto(53, other_endpoint);
  start(ip);
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b", "c"));
  EXPECT_THAT(other_endpoint.payloads, ElementsAre("a", "b", "c"));
}

TEST_F(SeveralListeners, OneThatIsLeftAloneGetsTheRest) {
  ip.add_proto(ip_protocol::udp, udp);
  ip.add_proto(ip_protocol::udp, other_udp);
  udp.add_proto(53, endpoint);
  other_udp.add_proto(53, other_endpoint);
  endpoint.on_datagram = [&](Bytes, const Endpoint&) {
    if (endpoint.payloads.size() == 2) ip.remove_proto(ip_protocol::udp, other_udp);
  };
  start(ip);
  inject_text("abcd", 1);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(other_endpoint.payloads, ElementsAre("a"));
}

/// The first destroys the port, the second answers.
class FirstDestroysThePort : public SeveralListeners, public testing::WithParamInterface<std::string> {
 protected:
  void send() {
    const Shape& shape = GetParam() == "ethernet" ? on_tap : udp4;
    interface().inject(shapes::datagram(shape, as_bytes("a")));
    inject_text("bc", 1, shape);
    clock.run_ready();
  }
};

INSTANTIATE_TEST_SUITE_P(Floors, FirstDestroysThePort, testing::Values("ethernet", "ip", "udp"),
                         [](const auto& floor) { return floor.param; });

TEST_P(FirstDestroysThePort, AndTheSecondHearsNothingMore) {
  const std::string floor = GetParam();
  ethernet.add_proto(ethertype::ipv4, ip);
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  if (floor == "ethernet") ethernet.add_proto(ethertype::ipv4, other_ip);
  if (floor == "ip") ip.add_proto(ip_protocol::udp, other_udp);
  other_ip.add_proto(ip_protocol::udp, other_udp);
  (floor == "udp" ? udp : other_udp).add_proto(53, other_endpoint);
  other_endpoint.on_datagram = [&](Bytes data, const Endpoint& from) {
    other_endpoint.transport().write_to(from, data);
  };
  for (const std::size_t last : {1U, 2U}) {  // a plain datagram, a super-packet
    if (floor == "ethernet")
      start(ethernet, DeviceKind::tap);
    else
      start(ip);
    endpoint.payloads.clear();
    other_endpoint.payloads.clear();
    endpoint.on_datagram = [&](Bytes, const Endpoint&) {
      if (endpoint.payloads.size() == last) port.reset();
    };
    send();
    EXPECT_EQ(endpoint.payloads.size(), last);
    EXPECT_EQ(other_endpoint.payloads.size(), last - 1);
  }
}

TEST_F(SeveralListeners, OneThatDestroysThePortAndAnswersIsRefused) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  start(ip);
  WriteResult answer = WriteResult::make_sent();
  endpoint.on_datagram = [&](Bytes data, const Endpoint& from) {
    port.reset();
    answer = udp.write_to(from, data);
    udp.drop(DropReason::rate_limited);
  };
  inject_text("a", 1);
  clock.run_ready();
  EXPECT_EQ(answer, WriteResult::make_refused(DropReason::no_route));
}

TEST_F(SeveralListeners, APortThatIsStartedMeanwhileDoesNotGetTheAnswers) {
  ethernet.add_proto(ethertype::ipv4, ip);
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  ethernet.add_proto(ethertype::ipv4, other_ip);  // the frame is taken apart at this floor
  start(ethernet, DeviceKind::tap);
  TuntapPort late{clock, DeviceKind::tap, "tap9", ethernet, {.system = kernel}};
  endpoint.on_datagram = [&](Bytes data, const Endpoint& from) {
    if (!late.listening()) late.start_listening();
    EXPECT_TRUE(endpoint.transport().write_to(from, data));
  };
  inject_text("abc", 1, on_tap);
  clock.run_ready();
  EXPECT_EQ(interface().collect_datagrams().size(), 3U);
  EXPECT_EQ(late.statistics().packets_out, 0U);
}

TEST_F(SeveralListeners, WhoRemovesItselfHasTheRestCounted) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  endpoint.on_datagram = [&](Bytes, const Endpoint&) {
    if (endpoint.payloads.size() == 2) udp.remove_proto(53, endpoint);
  };
  start(ip);
  inject_text("abcde", 1);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a", "b"));
  EXPECT_EQ(drops(DropReason::unknown_udp_port), 3U);
}

// --- nobody there

TEST_F(SeveralListeners, ASuperPacketThatNobodyTakesIsCountedAsItsDatagrams) {
  start(ip);
  inject_text("abc", 1);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::unknown_ip_protocol), 3U);

  start(ethernet, DeviceKind::tap);
  inject_text("abc", 1, on_tap);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::unknown_ethertype), 3U);

  EthernetDemux picky{{.address = MacAddress{{2, 2, 2, 2, 2, 2}}}};
  start(picky, DeviceKind::tap);
  inject_text("abc", 1, on_tap);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::ethernet_wrong_mac), 3U);
  port.reset();

  EthernetDemux untagged;
  start(untagged, DeviceKind::tap);
  inject_text("abc", 1, on_tap);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::vlan_tagged), 3U);
  port.reset();
}

TEST_F(SeveralListeners, TheRestOfASuperPacketThatNobodyTakesIsCountedOnce) {
  ip.add_proto(ip_protocol::udp, udp);
  udp.add_proto(53, endpoint);
  endpoint.on_datagram = [&](Bytes, const Endpoint&) { udp.remove_proto(53, endpoint); };
  start(ip);
  inject_text("abcd", 1);
  clock.run_ready();
  EXPECT_THAT(endpoint.payloads, ElementsAre("a"));
  EXPECT_EQ(drops(DropReason::unknown_udp_port), 3U);
  EXPECT_EQ(port->statistics().drops.total(), 3U);
}

}  // namespace
}  // namespace tunport
