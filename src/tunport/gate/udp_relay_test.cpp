#include "tunport/gate/udp_relay.hpp"

#include <cerrno>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/ip.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;

/// A relay in virtual time; the destination is a socket of the loopback.
class UdpRelayTest : public testing::Test {
 protected:
  UdpRelayTest() {
    sockaddr_storage address;
    socklen_t length = Endpoint{IpAddress{"127.0.0.1"}, 0}.to_sockaddr(address);
    EXPECT_EQ(::bind(server_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::getsockname(server_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    destination_ = Endpoint::from_sockaddr(address).value_or(Endpoint{});
  }
  static Endpoint client(std::uint16_t port) { return {IpAddress{"10.77.0.1"}, port}; }
  void send(UdpRelay& relay, const Endpoint& from, std::string_view text) {
    relay.datagram_received({.data = as_bytes(text), .from = from, .to = destination_});
  }
  /// The next datagram at the destination; "" without one.
  std::string receive() {
    std::string text(2000, '\0');
    const ssize_t got = ::recv(server_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }

  FakeTransport port_{DeviceKind::tun};
  UniqueFd server_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  Endpoint destination_;
};

TEST_F(UdpRelayTest, a_flow_lasts_two_minutes_after_the_clients_last_datagram) {
  UdpRelay relay{port_.clock};
  send(relay, client(1000), "one");
  port_.clock.advance(100s);
  send(relay, client(1000), "two");
  port_.clock.advance(119s);
  EXPECT_EQ(relay.flows(), 1U);
  port_.clock.advance(10s);
  EXPECT_EQ(relay.flows(), 0U);
  EXPECT_EQ(relay.statistics().flows, 1U);
  EXPECT_EQ(receive(), "one");
  EXPECT_EQ(receive(), "two");
}

TEST_F(UdpRelayTest, the_least_recently_used_flow_makes_room) {
  UdpRelay relay{port_.clock, {.flows = 2}};
  send(relay, client(1), "a");
  send(relay, client(2), "b");
  send(relay, client(1), "c");
  send(relay, client(3), "d");  // the flow of client 2 ends
  send(relay, client(1), "e");
  EXPECT_EQ(relay.flows(), 2U);
  EXPECT_EQ(relay.statistics().flows, 3U);
  EXPECT_EQ(relay.statistics().flows_evicted, 1U);
}

TEST_F(UdpRelayTest, a_run_arrives_in_datagrams) {
  UdpRelay relay{port_.clock};
  relay.datagrams_received(
      {.bytes = as_bytes("aaaabbbbcc"), .segment_size = 4, .from = client(1), .to = destination_});
  EXPECT_EQ(receive(), "aaaa");
  EXPECT_EQ(receive(), "bbbb");
  EXPECT_EQ(receive(), "cc");
  EXPECT_EQ(relay.statistics().datagrams_out, 3U);
}

TEST_F(UdpRelayTest, a_flow_without_a_target_is_refused) {
  UdpRelay relay{port_.clock, {.target = [](const Endpoint&, const Endpoint&) { return std::nullopt; }}};
  relay.send_errors_to(&port_);
  send(relay, client(1), "hello");
  EXPECT_EQ(relay.statistics().flows_refused, 1U);
  EXPECT_EQ(relay.statistics().errors_passed, 1U);
  ASSERT_EQ(port_.written.size(), 1U);
  DropReason why{};
  const auto ip = IpView::checked(port_.written[0], why);
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->destination(), client(1).address);
  EXPECT_EQ(ip->source(), destination_.address);
  const auto icmp = IcmpView::checked(ip->payload(), why);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->type(), icmp_type::destination_unreachable);
  EXPECT_EQ(icmp->code(), icmp_unreachable::port);
  // The quotation: the ends of the client's datagram, and its length.
  ASSERT_EQ(icmp->payload().size(), 28U);
  EXPECT_EQ(load_be16(icmp->payload(), 20), 1U);
  EXPECT_EQ(load_be16(icmp->payload(), 22), destination_.port);
  EXPECT_EQ(load_be16(icmp->payload(), 24), 8U + 5U);
}

TEST_F(UdpRelayTest, a_group_is_refused_without_an_error) {
  UdpRelay relay{port_.clock};
  relay.send_errors_to(&port_);
  relay.datagram_received({.data = as_bytes("hello"),
                           .from = client(1),
                           .to = {IpAddress{"224.0.0.251"}, 5353},
                           .to_group = true});
  EXPECT_EQ(relay.statistics().flows_refused, 1U);
  EXPECT_TRUE(port_.written.empty());
}

TEST_F(UdpRelayTest, errors_are_limited) {
  UdpRelay relay{port_.clock, {.target = [](const Endpoint&, const Endpoint&) { return std::nullopt; }}};
  relay.send_errors_to(&port_);
  for (int i = 0; i < 60; ++i) send(relay, client(1), "hello");
  EXPECT_EQ(relay.statistics().errors_passed, 50U);
  EXPECT_EQ(relay.statistics().errors_suppressed, 10U);
}

TEST_F(UdpRelayTest, options_out_of_range_are_refused) {
  EXPECT_THROW((UdpRelay{port_.clock, {.flows = 0}}), std::invalid_argument);
  EXPECT_THROW((UdpRelay{port_.clock, {.idle = 119s}}), std::invalid_argument);
}

TEST_F(UdpRelayTest, a_socket_of_the_programs_own_carries_the_flow) {
  std::vector<int> families;
  UdpRelay relay{port_.clock, {.socket = [&](int family) {
                   families.push_back(family);
                   return UniqueFd{::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
                 }}};
  send(relay, client(1000), "one");
  EXPECT_EQ(receive(), "one");
  EXPECT_EQ(families, std::vector{AF_INET});
}

TEST_F(UdpRelayTest, without_a_socket_a_flow_is_refused_whatever_errno_says) {
  for (const int error : {0, EMFILE, EPIPE}) {
    UdpRelay relay{port_.clock, {.socket = [error](int) {
                     errno = error;
                     return UniqueFd{};
                   }}};
    send(relay, client(1000), "one");
    EXPECT_EQ(relay.flows(), 0U) << error;
    EXPECT_EQ(relay.statistics().flows_refused, 1U) << error;
  }
}

}  // namespace
}  // namespace tunport
