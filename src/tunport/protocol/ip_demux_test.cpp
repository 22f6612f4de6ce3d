#include "tunport/protocol/ip_demux.hpp"

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

struct Datagrams : TransportProtocol {
  void datagram_received(const IpDatagram& datagram) override {
    received.emplace_back(as_text(datagram.payload()));
    if (answer_size != 0) {
      const Buffer answer(answer_size);
      const Bytes part = answer;
      last = datagram.reply(200, {&part, 1});
    }
  }
  std::vector<std::string> received;
  std::size_t answer_size = 0;
  WriteResult last = WriteResult::make_queued();
};

class IpDemuxTest : public testing::Test {
 protected:
  IpDemuxTest() { ip_.add_proto(200, datagrams_); }
  static Ipv4Header header() { return {.protocol = 200, .source = kernel_ip, .destination = host_ip}; }

  IpDemux ip_;
  Datagrams datagrams_;
  FakeTransport port_{DeviceKind::tun};
};

TEST_F(IpDemuxTest, DeliversByProtocolOnTunAndBehindEthernet) {
  port_.deliver(ip_, ipv4(header(), "on tun"));
  EthernetDemux ethernet;
  ethernet.add_proto(0x0800, ip_);
  FakeTransport tap;
  tap.deliver(ethernet, packets::ethernet({}, ipv4(header(), "on tap")));
  EXPECT_THAT(datagrams_.received, ElementsAre("on tun", "on tap"));
  auto other = header();
  other.protocol = 201;
  port_.deliver(ip_, ipv4(other, "nobody"));
  EXPECT_EQ(port_.drops[DropReason::unknown_ip_protocol], 1U);
  EXPECT_THROW(ip_.add_proto(256, datagrams_), std::out_of_range);
  EXPECT_THROW(ip_.add_proto(-1, datagrams_), std::out_of_range);
}

TEST_F(IpDemuxTest, ThePayloadEndsWhereTheHeaderSays) {
  port_.deliver(ip_, padded(ipv4(header(), "short"), 60, std::byte{'!'}));
  EXPECT_THAT(datagrams_.received, ElementsAre("short")) << "padding never leaks";
}

TEST_F(IpDemuxTest, OptionsAreSkipped) {
  const Buffer options = hex("94040000 01010100");  // router alert, no-operations, end
  auto with_options = header();
  with_options.options = options;
  port_.deliver(ip_, ipv4(with_options, "behind options"));
  EXPECT_THAT(datagrams_.received, ElementsAre("behind options"));
}

TEST_F(IpDemuxTest, DropsWithAReason) {
  const Buffer good = ipv4(header(), "payload");
  const struct {
    const char* what;
    Buffer packet;
    DropReason reason;
  } table[] = {
      {"nothing", {}, DropReason::ip_short},
      {"19 bytes", Buffer(good.begin(), good.begin() + 19), DropReason::ip_short},
      {"version 5", patched(good, 0, hex("55")), DropReason::ip_bad_version},
      {"version 6, and no room for the header", patched(good, 0, hex("65")), DropReason::ip_short},
      {"IHL 4", patched(good, 0, hex("44")), DropReason::ip_bad_header_length},
      {"IHL beyond the packet", patched(good, 0, hex("4f")), DropReason::ip_bad_header_length},
      {"total length 19", patched(good, 2, hex("0013")), DropReason::ip_bad_total_length},
      {"total length beyond", patched(good, 2, hex("00ff")), DropReason::ip_bad_total_length},
      {"checksum", patched(good, 10, hex("0000")), DropReason::ip_bad_checksum},
  };
  for (const auto& row : table) {
    const auto before = port_.drops[row.reason];
    port_.deliver(ip_, row.packet);
    EXPECT_EQ(port_.drops[row.reason], before + 1) << row.what;
  }
  port_.deliver(ip_, good, true);
  EXPECT_EQ(port_.drops[DropReason::truncated], 1U);
  EXPECT_EQ(port_.drops.total(), std::size(table) + 1);
  EXPECT_THAT(datagrams_.received, IsEmpty());
}

TEST_F(IpDemuxTest, TruncatedAtEveryLengthNothingIsDelivered) {
  const Buffer good = ipv4(header(), "payload");
  for (std::size_t size = 0; size < good.size(); ++size)
    port_.deliver(ip_, Buffer(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
  EXPECT_THAT(datagrams_.received, IsEmpty());
  EXPECT_EQ(port_.drops.total(), good.size());
}

TEST_F(IpDemuxTest, AnAnswerSwapsTheAddresses) {
  datagrams_.answer_size = 5;
  port_.deliver(ip_, ipv4(header(), "x"));
  ASSERT_THAT(port_.written, ElementsAre(is_ipv4(from("10.0.0.2"), to("10.0.0.1"))));
  DropReason why{};
  const auto view = Ipv4View::checked(port_.written[0], why);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->protocol(), 200);
  EXPECT_TRUE(view->dont_fragment());
  EXPECT_EQ(view->payload().size(), 5U);
}

TEST_F(IpDemuxTest, ADerivedClassAnswersWhereNobodyIsHome) {
  class Refusing : public IpDemux {
   public:
    std::vector<int> refused;

   protected:
    void nobody_home(const IpDatagram& datagram) override {
      refused.push_back(datagram.ip.protocol());
      IpDemux::nobody_home(datagram);
    }
  };
  Refusing demux;
  port_.deliver(demux, ipv4(header(), "x"));
  demux.add_proto(200, datagrams_);
  port_.deliver(demux, ipv4(header(), "x"));
  EXPECT_THAT(demux.refused, ElementsAre(200));
  EXPECT_EQ(port_.drops[DropReason::unknown_ip_protocol], 1U);
}

TEST_F(IpDemuxTest, AnAnswerHasTheFieldsThatAreAskedFor) {
  class Answering : public TransportProtocol {
   public:
    explicit Answering(const AnswerFields& fields) : fields_{fields} {}
    std::size_t size = 5;
    WriteResult last = WriteResult::make_sent();
    void datagram_received(const IpDatagram& datagram) override {
      const Buffer data(size);
      const Bytes part = data;
      last = datagram.reply(200, {&part, 1}, fields_);
    }

   private:
    AnswerFields fields_;
  };
  const Buffer options(40, std::byte{1});
  Answering answering{{.tos = 0xb8, .options = options}};
  IpDemux demux;
  demux.add_proto(200, answering);
  port_.deliver(demux, ipv4(header(), "x"));
  ASSERT_THAT(port_.written, ElementsAre(is_ipv4(from("10.0.0.2"), to("10.0.0.1"))));
  EXPECT_EQ(port_.written[0].size(), 65U);
  EXPECT_EQ(dissect(port_.written[0]).ipv4->tos(), 0xb8);
  EXPECT_EQ(to_hex(dissect(port_.written[0]).ipv4->options()), to_hex(options));
  answering.size = 65'535 - 60;
  port_.deliver(demux, ipv4(header(), "x"));
  EXPECT_EQ(answering.last, WriteResult::make_sent());
  ++answering.size;
  port_.deliver(demux, ipv4(header(), "x"));
  EXPECT_EQ(answering.last, WriteResult::make_refused(DropReason::too_long));
}

TEST_F(IpDemuxTest, AnAnswerIsAtMost65535Bytes) {
  datagrams_.answer_size = 65'535 - 20;
  port_.deliver(ip_, ipv4(header(), "x"));
  EXPECT_EQ(datagrams_.last, WriteResult::make_sent());
  ++datagrams_.answer_size;
  port_.deliver(ip_, ipv4(header(), "x"));
  EXPECT_EQ(datagrams_.last, WriteResult::make_refused(DropReason::too_long));
  EXPECT_EQ(port_.drops[DropReason::too_long], 1U);
}

}  // namespace
}  // namespace tunport
