#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/gate/gate_state_internal.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

/// A gate without a real listener.
class GateStates : public testing::Test {
 protected:
  GateStates()
      : state{std::make_shared<detail::GateState>(
            clock, "tun0", GateOptions{.max_requests = 4, .port = {.system = kernel}})} {
    state->port->start_listening();
    kernel.tunnel("tun0").set_up(true);
    state->tcp.set_listener(packets::endpoint("10.0.0.1:9999"));
  }
  void syn(int port) {
    const std::string from = "10.0.0.1:" + std::to_string(port);
    kernel.tunnel("tun0").inject(packets::tcp(from, "198.51.100.7:80", {.flags = tcp_flag::syn}));
    clock.run_ready();
  }

  /// Has the kernel send a packet into the interface. Returns the packets written in answer.
  std::vector<packets::Buffer> answers(const packets::Buffer& packet) {
    kernel.tunnel("tun0").inject(packet);
    clock.run_ready();
    return kernel.tunnel("tun0").collect();
  }

  MemorySystem kernel;
  ManualReactor clock;
  std::shared_ptr<detail::GateState> state;
};

TEST_F(GateStates, AFloodWithoutATakerIsBounded) {
  for (int port = 1; port <= 1000; ++port) syn(port);
  EXPECT_LE(state->requests.size(), 8U);
  std::vector<std::uint16_t> taken;
  for (int i = 0; i < 5; ++i)
    state->take_request([&](const std::error_code& ec, GateRequest request) {
      if (!ec) taken.push_back(request.source().port);
    });
  clock.run_ready();
  EXPECT_EQ(taken, (std::vector<std::uint16_t>{997, 998, 999, 1000}))
      << "those that are held still, in order";
}

TEST_F(GateStates, TheEndOfTheDeviceEndsTheWaitingCalls) {
  std::error_code told;
  state->take_request([&](const std::error_code& ec, GateRequest) { told = ec; });
  kernel.tunnel("tun0").remove();
  for (int i = 0; i < 5; ++i) clock.advance(std::chrono::milliseconds{10});
  EXPECT_EQ(told, Errc::device_gone);
  state->take_request([&](const std::error_code& ec, GateRequest) { told = ec; });
  state->stop();
  clock.run_ready();
  EXPECT_EQ(told, Errc::operation_aborted);
}

constexpr std::uint8_t experimental = 253;  // RFC 3692

packets::Buffer of_unknown_protocol(const char* from, const char* to, std::uint8_t protocol = experimental) {
  return packets::ipv4({.protocol = protocol, .source = packets::ip(from), .destination = packets::ip(to)},
                       "eight by");
}

TEST_F(GateStates, AnotherProtocolIsUnreachable) {
  const packets::Buffer asked = of_unknown_protocol("10.0.0.1", "198.51.100.7");
  const auto answer = answers(asked);
  ASSERT_EQ(answer.size(), 1U);
  const packets::Layers layers = packets::dissect(answer[0]);
  ASSERT_TRUE(layers.icmp);
  EXPECT_EQ(layers.ipv4->source(), packets::ip("198.51.100.7"));
  EXPECT_EQ(layers.ipv4->destination(), packets::ip("10.0.0.1"));
  EXPECT_EQ(layers.icmp->type(), icmp_type::destination_unreachable);
  EXPECT_EQ(layers.icmp->code(), icmp_unreachable::protocol);
  EXPECT_TRUE(std::ranges::equal(layers.icmp->payload(), asked));
  EXPECT_EQ(state->statistics.protocols_refused, 1U);
  EXPECT_EQ(state->port->statistics().drops[DropReason::unknown_ip_protocol], 1U);
}

TEST_F(GateStates, AnotherProtocolOverIpv6IsAnUnrecognizedNextHeader) {
  const Ipv6Address from{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
  const Ipv6Address to{{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}};
  // Behind eight bytes of destination options (PadN): the place of the number is their first byte.
  for (const bool has_options : {false, true}) {
    const packets::Buffer options = packets::hex(has_options ? "fd00010400000000" : "");
    packets::Buffer asked(Ipv6Header::size);
    Ipv6Header{.next_header = has_options ? std::uint8_t{60} : experimental,
               .source = from,
               .destination = to,
               .payload_length = static_cast<std::uint16_t>(options.size())}
        .emit(asked);
    asked.insert(asked.end(), options.begin(), options.end());
    const auto answer = answers(asked);
    ASSERT_EQ(answer.size(), 1U);
    DropReason why{};
    const auto ip = IpView::checked(answer[0], why);
    ASSERT_TRUE(ip);
    EXPECT_EQ(ip->destination(), IpAddress{from});
    const auto icmp = Icmpv6View::checked(ip->payload(), to, from, why);
    ASSERT_TRUE(icmp);
    EXPECT_EQ(icmp->type(), icmpv6_type::parameter_problem);
    EXPECT_EQ(icmp->code(), 1);
    EXPECT_EQ(icmp->rest(), has_options ? Ipv6Header::size : 6U);
    EXPECT_TRUE(std::ranges::equal(icmp->payload(), asked));
  }
}

TEST_F(GateStates, AnotherProtocolWithoutASingleHostHasNoAnswer) {
  for (const char* from : {"255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1"})
    EXPECT_TRUE(answers(of_unknown_protocol(from, "198.51.100.7")).empty()) << from;
  for (const char* to : {"255.255.255.255", "224.0.0.1"})
    EXPECT_TRUE(answers(of_unknown_protocol("10.0.0.1", to)).empty()) << to;
  EXPECT_EQ(state->statistics.protocols_refused, 0U);
}

TEST_F(GateStates, UnreachableProtocolsAreToldAtALimitedRate) {
  std::size_t told = 0;
  for (int i = 0; i < 300; ++i) told += answers(of_unknown_protocol("10.0.0.1", "198.51.100.7")).size();
  EXPECT_EQ(told, 100U);
  EXPECT_EQ(state->statistics.protocols_refused, 100U);
  clock.advance(std::chrono::seconds{1});
  EXPECT_EQ(answers(of_unknown_protocol("10.0.0.1", "198.51.100.7")).size(), 1U);
}

}  // namespace
}  // namespace tunport
