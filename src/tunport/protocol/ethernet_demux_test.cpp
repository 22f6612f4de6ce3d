#include "tunport/protocol/ethernet_demux.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/testing/fake_transport.hpp"
#include "tunport/testing/matchers.hpp"

namespace tunport {
namespace {

using namespace packets;
using namespace matchers;
using testing::ElementsAre;
using testing::IsEmpty;

/// Keeps payloads; answers each with "answer" if asked to.
struct Payloads : NetworkProtocol {
  void packet_received(Bytes payload, const Arrival& arrival) override {
    received.emplace_back(as_text(payload));
    link_broadcast = arrival.is_link_broadcast();
    if (answer) last = arrival.reply(std::array<Bytes, 1>{as_bytes("answer")});
  }
  std::vector<std::string> received;
  bool link_broadcast = false;
  bool answer = false;
  WriteResult last = WriteResult::make_queued();
};

class EthernetDemuxTest : public testing::Test {
 protected:
  EthernetDemuxTest() { ethernet_.add_proto(0x88b5, payloads_); }
  Buffer frame(const EthernetFields& fields, Content payload = "hello",
               std::initializer_list<VlanTag> tags = {}) {
    return packets::ethernet({fields.destination, fields.source, 0x88b5}, payload, tags);
  }

  EthernetDemux ethernet_;
  Payloads payloads_;
  FakeTransport port_;
};

TEST_F(EthernetDemuxTest, DeliversByEtherType) {
  port_.deliver(ethernet_, frame({}));
  port_.deliver(ethernet_, packets::ethernet({.ethertype = 0x88b6}, "other"));
  EXPECT_THAT(payloads_.received, ElementsAre("hello"));
  EXPECT_EQ(port_.drops[DropReason::unknown_ethertype], 1U);
  EXPECT_THROW(ethernet_.add_proto(0x10000, payloads_), std::out_of_range);
  ethernet_.remove_proto(0x88b5, payloads_);
  port_.deliver(ethernet_, frame({}));
  EXPECT_EQ(port_.drops[DropReason::unknown_ethertype], 2U);
}

TEST_F(EthernetDemuxTest, DropsWhatIsNoFrame) {
  const Buffer whole = frame({});
  for (std::size_t size = 0; size < 14; ++size)
    port_.deliver(ethernet_, Buffer(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
  EXPECT_EQ(port_.drops[DropReason::ethernet_short], 14U);
  port_.deliver(ethernet_, whole, true);
  EXPECT_EQ(port_.drops[DropReason::truncated], 1U);
  EXPECT_THAT(payloads_.received, IsEmpty());
}

TEST_F(EthernetDemuxTest, AFilterTakesOursAndGroups) {
  EthernetDemux filtering{{.address = host_mac}};
  filtering.add_proto(0x88b5, payloads_);
  port_.deliver(filtering, frame({.destination = host_mac}, "ours"));
  port_.deliver(filtering, frame({.destination = MacAddress::broadcast()}, "all"));
  EXPECT_TRUE(payloads_.link_broadcast);
  port_.deliver(filtering, frame({.destination = mac("02:00:00:00:00:99")}, "other"));
  EXPECT_THAT(payloads_.received, ElementsAre("ours", "all"));
  EXPECT_EQ(port_.drops[DropReason::ethernet_wrong_mac], 1U);
}

TEST_F(EthernetDemuxTest, TaggedFramesAreForThoseWhoAsked) {
  port_.deliver(ethernet_, frame({}, "priority", {{.priority = 5, .vid = 0}}));
  port_.deliver(ethernet_, frame({}, "vlan 7", {{.vid = 7}}));
  EXPECT_THAT(payloads_.received, ElementsAre("priority"));
  EXPECT_EQ(port_.drops[DropReason::vlan_tagged], 1U);

  EthernetDemux any{{.any_vlan = true}};
  any.add_proto(0x88b5, payloads_);
  payloads_.answer = true;
  port_.deliver(any, frame({}, "vlan 7", {{.vid = 7}}));
  EXPECT_THAT(port_.written,
              ElementsAre(packets::ethernet({kernel_mac, host_mac, 0x88b5}, "answer", {{.vid = 7}})));
}

TEST_F(EthernetDemuxTest, AnAnswerGoesBackTheWayItCame) {
  payloads_.answer = true;
  port_.deliver(ethernet_, frame({}));
  EXPECT_THAT(port_.written, ElementsAre(packets::ethernet({kernel_mac, host_mac, 0x88b5}, "answer")));
}

TEST_F(EthernetDemuxTest, NoAnswerWithoutASenderOrAnAddressOfOurOwn) {
  payloads_.answer = true;
  port_.deliver(ethernet_, frame({.source = MacAddress::broadcast()}));
  EXPECT_EQ(payloads_.last, WriteResult::make_refused(DropReason::answer_not_allowed));
  port_.deliver(ethernet_, frame({.destination = MacAddress::broadcast()}));
  EXPECT_EQ(payloads_.last, WriteResult::make_refused(DropReason::no_route));
  EXPECT_THAT(port_.written, IsEmpty());
  EXPECT_EQ(port_.drops[DropReason::answer_not_allowed], 1U);
  EXPECT_EQ(port_.drops[DropReason::no_route], 1U);
}

TEST_F(EthernetDemuxTest, StartsAndStopsWhatStandsBehindIt) {
  struct Counted : Payloads {
    void start_protocol() override { ++starts; }
    void stop_protocol() override { ++stops; }
    int starts = 0;
    int stops = 0;
  } counted;
  ethernet_.add_proto(1, counted);
  ethernet_.do_start();
  ethernet_.do_start();
  EXPECT_EQ(counted.starts, 1);
  ethernet_.do_stop();
  EXPECT_EQ(counted.stops, 0);
  ethernet_.do_stop();
  EXPECT_EQ(counted.stops, 1);
}

}  // namespace
}  // namespace tunport
