#include "tunport/gate/echo_relay.hpp"

#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/icmp.hpp"

namespace tunport {
namespace {

/// Messages that need no ping socket.
class EchoRelayTest : public testing::Test {
 protected:
  /// Delivers an ICMP message with a payload of four bytes.
  void deliver(EchoRelay& relay, std::uint8_t type, Ipv4Address to, bool broken = false) {
    IpDemux ip;
    ip.add_proto(ip_protocol::icmp, relay);
    const Bytes payload = as_bytes("ping");
    packets::Buffer packet(Ipv4Header::size + IcmpHeader::size + payload.size());
    Ipv4Header{.protocol = ip_protocol::icmp,
               .source = packets::kernel_ip,
               .destination = to,
               .payload_length = static_cast<std::uint16_t>(IcmpHeader::size + payload.size())}
        .emit(packet);
    std::copy(payload.begin(), payload.end(), packet.end() - 4);
    IcmpHeader{.type = type, .rest = 1}.emit(MutableBytes{packet}.subspan(Ipv4Header::size), payload);
    if (broken) packet.back() ^= std::byte{1};
    port_.deliver(ip, packet);
    ip.remove_proto(ip_protocol::icmp, relay);
  }

  FakeTransport port_{DeviceKind::tun};
};

TEST_F(EchoRelayTest, other_messages_go_to_the_hook) {
  int taken = 0;
  EchoRelay relay{port_.clock, {.on_error = [&](const IpDatagram&) { return ++taken == 1; }}};
  deliver(relay, icmp_type::destination_unreachable, packets::host_ip);
  EXPECT_EQ(port_.drops[DropReason::icmp_unhandled], 0U);
  deliver(relay, icmp_type::destination_unreachable, packets::host_ip);
  EXPECT_EQ(taken, 2);
  EXPECT_EQ(port_.drops[DropReason::icmp_unhandled], 1U);
}

TEST_F(EchoRelayTest, a_broken_message_goes_nowhere) {
  int taken = 0;
  EchoRelay relay{port_.clock, {.on_error = [&](const IpDatagram&) { return ++taken != 0; }}};
  deliver(relay, icmp_type::destination_unreachable, packets::host_ip, true);
  deliver(relay, icmp_type::echo_request, packets::host_ip, true);
  EXPECT_EQ(taken, 0);
  EXPECT_EQ(port_.drops[DropReason::icmp_bad_checksum], 2U);
}

TEST_F(EchoRelayTest, a_ping_to_a_group_is_dropped) {
  EchoRelay relay{port_.clock};
  deliver(relay, icmp_type::echo_request, Ipv4Address{"224.0.0.1"});
  EXPECT_EQ(port_.drops[DropReason::icmp_unhandled], 1U);
  EXPECT_TRUE(port_.written.empty());
  EXPECT_EQ(relay.flows(), 0U);
}

TEST_F(EchoRelayTest, a_ping_without_a_target_is_prohibited) {
  std::vector<IpAddress> asked;
  const auto nothing = [&](const IpAddress& source, const IpAddress& destination) {
    asked = {source, destination};
    return std::optional<IpAddress>{};
  };
  // A refused ping is not answered locally: an answer would say that the destination is there.
  EchoRelay relay{port_.clock, {.target = nothing, .answer_locally = true}};
  deliver(relay, icmp_type::echo_request, packets::host_ip);
  EXPECT_EQ(asked, (std::vector<IpAddress>{packets::kernel_ip, packets::host_ip}));
  EXPECT_EQ(relay.flows(), 0U);
  EXPECT_EQ(relay.statistics().flows_refused, 1U);
  EXPECT_EQ(relay.statistics().errors_passed, 1U);
  ASSERT_EQ(port_.written.size(), 1U);
  const packets::Layers answer = packets::dissect(port_.written[0]);
  ASSERT_TRUE(answer.icmp);
  EXPECT_EQ(answer.ipv4->source(), packets::host_ip);
  EXPECT_EQ(answer.ipv4->destination(), packets::kernel_ip);
  EXPECT_EQ(answer.icmp->type(), icmp_type::destination_unreachable);
  EXPECT_EQ(answer.icmp->code(), 13);  // administratively prohibited (RFC 1812 5.2.7.1)
}

TEST_F(EchoRelayTest, a_target_of_the_other_family_is_none) {
  EchoRelay relay{port_.clock, {.target = [](const IpAddress&, const IpAddress&) {
                    return std::optional<IpAddress>{Ipv6Address{}};
                  }}};
  deliver(relay, icmp_type::echo_request, packets::host_ip);
  EXPECT_EQ(relay.flows(), 0U);
  EXPECT_EQ(relay.statistics().flows_refused, 1U);
}

TEST_F(EchoRelayTest, options_out_of_range_are_refused) {
  EXPECT_THROW((EchoRelay{port_.clock, {.flows = 0}}), std::invalid_argument);
  EXPECT_THROW((EchoRelay{port_.clock, {.idle = Duration::zero()}}), std::invalid_argument);
}

}  // namespace
}  // namespace tunport
