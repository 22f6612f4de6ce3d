#include "proxy_udp.hpp"

#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tunport/testing/manual_reactor.hpp"

namespace tunport::tool {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Endpoint at(const char* text) { return *Endpoint::parse(text); }

TEST(ProxyDatagram, HasAHeaderOfEachKind) {
  EXPECT_EQ(proxy_datagram_header(at("198.51.100.7:53"), ""), "\0\0\0\1\xc6\x33\x64\7\0\x35"s);
  EXPECT_EQ(proxy_datagram_header(at("[2001:db8::7]:443"), ""),
            "\0\0\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\1\xbb"s);
  EXPECT_EQ(proxy_datagram_header(at("198.18.0.1:443"), "example.org"),
            "\0\0\0\3\x0b"s + "example.org\1\xbb");
}

TEST(ProxyDatagram, IsReadAsWritten) {
  for (const char* endpoint : {"198.51.100.7:53", "[2001:db8::7]:443"}) {
    const std::string text = proxy_datagram_header(at(endpoint), "") + "data";
    const auto datagram = read_proxy_datagram(as_bytes(text));
    ASSERT_TRUE(datagram);
    EXPECT_EQ((Endpoint{datagram->source.value_or(IpAddress{}), datagram->port}), at(endpoint));
    EXPECT_EQ(as_text(datagram->payload), "data");
    for (std::size_t size = 0; size < text.size() - 4; ++size)
      EXPECT_FALSE(read_proxy_datagram(as_bytes(text).first(size))) << size;
  }
  const std::string name = proxy_datagram_header(at("198.18.0.1:443"), "example.org");
  const auto datagram = read_proxy_datagram(as_bytes(name));
  ASSERT_TRUE(datagram);
  EXPECT_FALSE(datagram->source);
  EXPECT_THAT(datagram->payload, IsEmpty());
}

TEST(ProxyDatagram, AFragmentAndAnUnknownTypeAreDropped) {
  EXPECT_FALSE(read_proxy_datagram(as_bytes("\0\0\1\1\1\2\3\4\0\1data"s)));
  EXPECT_FALSE(read_proxy_datagram(as_bytes("\0\0\0\2\1\2\3\4\0\1data"s)));
  EXPECT_FALSE(read_proxy_datagram(as_bytes("\0\0\0\3\xff\2\3\4\0\1data"s)));
}

TEST(ProxyDatagram, RandomBytesAreReadWithinTheirBounds) {
  std::mt19937 random{3};
  for (int round = 0; round < 20'000; ++round) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random() % 6);
    if (const auto datagram = read_proxy_datagram(as_bytes(text))) {
      EXPECT_LE(datagram->payload.size() + 7, text.size());
    }
  }
}

TEST(ProxyAssociation, TheProxysAnswerDoesNotLeadAstray) {
  const IpAddress here{"127.0.0.1"};
  const IpAddress elsewhere{"192.0.2.1"};
  EXPECT_EQ(association_endpoint(at("192.0.2.2:9"), elsewhere), at("192.0.2.2:9"));
  EXPECT_EQ(association_endpoint(at("0.0.0.0:9"), elsewhere), at("192.0.2.1:9"));
  EXPECT_EQ(association_endpoint(at("[::]:9"), elsewhere), at("192.0.2.1:9"));
  EXPECT_EQ(association_endpoint(at("127.0.0.2:9"), here), at("127.0.0.2:9"));
  for (const char* bound :
       {"127.0.0.1:9", "[::1]:9", "192.0.2.2:0", "224.0.0.1:9", "255.255.255.255:9", "[ff02::1]:9"})
    EXPECT_EQ(association_endpoint(at(bound), elsewhere), std::nullopt) << bound;
  EXPECT_EQ(association_endpoint(std::nullopt, elsewhere), std::nullopt);
}

/// A proxy on the loopback, in virtual time.
class ProxyUdpTest : public testing::Test {
 protected:
  ProxyUdpTest() {
    endpoint_ = bind(listener_);
    EXPECT_EQ(::listen(listener_.get(), 100), 0);
    relay_ = bind(socket_);
  }
  static Endpoint bind(const UniqueFd& socket) {
    sockaddr_storage address{};
    socklen_t length = at("127.0.0.1:0").to_sockaddr(address);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    return Endpoint::from_sockaddr(address).value_or(Endpoint{});
  }
  ProxyUdp::Options options() {
    return {.answer =
                [this](const ReplyTo& ticket, Bytes data) {
                  answers_.push_back(to_string(ticket.from) + " to " + to_string(ticket.to) + ": " +
                                     std::string{as_text(data)});
                  return true;
                },
            .refuse =
                [this](const Datagrams& run) {
                  refused_.push_back(to_string(run.to) + ": " + std::string{as_text(run.bytes)});
                }};
  }
  static Datagrams datagram(std::string_view text, std::uint16_t port = 1000,
                            const char* to = "198.51.100.7:53") {
    return {.bytes = as_bytes(text),
            .segment_size = std::max<std::size_t>(text.size(), 1),
            .from = {IpAddress{"10.0.2.100"}, port},
            .to = at(to)};
  }
  void send(ProxyUdp& udp, const Datagrams& run, const std::string& name = {}) {
    if (!udp.send(run)) udp.begin(run, name);
    reactor_.run_ready();
  }
  /// Takes the next connection at the proxy, and answers the request for an association.
  UniqueFd associate(char reply = 0) {
    UniqueFd control{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    say(control, "\5\0"s);
    std::string text = "\5"s + reply + "\0\1\0\0\0\0"s;
    text += {static_cast<char>(relay_.port >> 8), static_cast<char>(relay_.port & 0xff)};
    say(control, text);
    return control;
  }
  void say(const UniqueFd& control, const std::string& text) {
    reactor_.run_ready();
    ASSERT_EQ(::send(control.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    reactor_.run_ready();
  }
  /// The next datagram at the proxy, whose sender answers go to.
  std::string receive() {
    std::string text(2000, '\0');
    sender_length_ = sizeof sender_;
    const ssize_t got = ::recvfrom(socket_.get(), text.data(), text.size(), MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr*>(&sender_), &sender_length_);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  void answer(const std::string& text) {
    ASSERT_EQ(::sendto(socket_.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&sender_),
                       sender_length_),
              static_cast<ssize_t>(text.size()));
    reactor_.run_ready();
  }

  ManualReactor reactor_;
  UniqueFd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  UniqueFd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  Endpoint endpoint_;
  Endpoint relay_;
  std::vector<std::string> answers_;
  std::vector<std::string> refused_;
  std::vector<std::string> lines_;
  sockaddr_storage sender_{};
  socklen_t sender_length_ = 0;
};

/// With its proxy.
struct Udp {
  Udp(Reactor& reactor, const Endpoint& endpoint, std::vector<std::string>& lines, ProxyUdp::Options options)
      : proxy{{.kind = UpstreamKind::socks5, .host = "proxy", .port = 1},
              {endpoint},
              [&lines](const std::string& line) { lines.push_back(line); }},
        udp{reactor, proxy, std::move(options)} {}
  Proxy proxy;
  ProxyUdp udp;
};

const std::string header = "\0\0\0\1\xc6\x33\x64\7\0\x35"s;

TEST_F(ProxyUdpTest, DatagramsWaitForTheAssociationAndAnswersComeBack) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one"));
  send(made.udp, datagram("two"));
  const UniqueFd control = associate();
  EXPECT_EQ(receive(), header + "one");
  EXPECT_EQ(receive(), header + "two");
  send(made.udp, {.bytes = as_bytes("aaabbbc"),
                  .segment_size = 3,
                  .from = {IpAddress{"10.0.2.100"}, 1000},
                  .to = at("198.51.100.7:53")});
  EXPECT_EQ(receive(), header + "aaa");
  EXPECT_EQ(receive(), header + "bbb");
  EXPECT_EQ(receive(), header + "c");
  answer(header + "back");
  EXPECT_THAT(answers_, ElementsAre("198.51.100.7:53 to 10.0.2.100:1000: back"));
  EXPECT_EQ(made.udp.flows(), 1U);
  EXPECT_EQ(made.udp.statistics().datagrams_out, 5U);
  EXPECT_EQ(made.udp.statistics().datagrams_in, 1U);
}

TEST_F(ProxyUdpTest, OnlyWholeDatagramsOfTheAskedAddressAndPortAreAnswers) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one"));
  const UniqueFd control = associate();
  receive();
  for (const std::string& text : {"\0\0\1\1\xc6\x33\x64\7\0\x35x"s, "\0\0\0\1\xc6\x33\x64\x8\0\x35x"s,
                                  "\0\0\0\1\xc6\x33\x64\7\0\x36x"s, "x"s})
    answer(text);
  EXPECT_THAT(answers_, IsEmpty());
  EXPECT_EQ(made.udp.statistics().datagrams_dropped, 4U);
}

TEST_F(ProxyUdpTest, BehindANameAnswersComeFromAnyAddress) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one", 1000, "198.18.0.1:53"), "example.org");
  const UniqueFd control = associate();
  EXPECT_EQ(receive(), "\0\0\0\3\x0b"s + "example.org\0\x35one"s);
  answer(header + "back");
  EXPECT_THAT(answers_, ElementsAre("198.18.0.1:53 to 10.0.2.100:1000: back"));
}

TEST_F(ProxyUdpTest, TheEndOfTheConnectionEndsTheFlowAndTheNextDatagramMakesAnother) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one"));
  associate().reset();
  reactor_.run_ready();
  EXPECT_EQ(made.udp.flows(), 0U);
  EXPECT_EQ(receive(), header + "one");
  send(made.udp, datagram("two"));
  const UniqueFd control = associate();
  EXPECT_EQ(receive(), header + "two");
  EXPECT_EQ(made.udp.statistics().flows, 2U);
}

TEST_F(ProxyUdpTest, AProxyWithoutAssociationsRefusesAndIsNotAskedAgainAtOnce) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one"));
  send(made.udp, datagram("two"));
  associate(7);
  EXPECT_THAT(refused_, ElementsAre("198.51.100.7:53: one"));
  send(made.udp, datagram("three"));
  EXPECT_EQ(refused_.size(), 2U);
  EXPECT_EQ(made.udp.statistics().flows, 1U);
  EXPECT_THAT(lines_, IsEmpty());
  reactor_.advance(31s);
  send(made.udp, datagram("four"));
  const UniqueFd control = associate();
  EXPECT_EQ(receive(), header + "four");
}

TEST_F(ProxyUdpTest, AProxyThatIsDownRefuses) {
  listener_.reset();
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one"));
  EXPECT_THAT(refused_, ElementsAre("198.51.100.7:53: one"));
  EXPECT_EQ(lines_.size(), 1U);
  EXPECT_EQ(made.udp.flows(), 0U);
}

TEST_F(ProxyUdpTest, WhatWaitsIsBounded) {
  ProxyUdp::Options bounded = options();
  bounded.waiting = 10;
  Udp made{reactor_, endpoint_, lines_, std::move(bounded)};
  send(made.udp, datagram("12345678"));
  send(made.udp, datagram("123", 1001));
  EXPECT_EQ(made.udp.statistics().datagrams_dropped, 1U);
  for (int i = 0; i < 20; ++i) send(made.udp, datagram(""));
  EXPECT_EQ(made.udp.statistics().datagrams_dropped, 6U) << "16 datagrams of a flow";
}

TEST_F(ProxyUdpTest, TheLeastRecentlyUsedFlowMakesRoom) {
  ProxyUdp::Options bounded = options();
  bounded.flows = 2;
  Udp made{reactor_, endpoint_, lines_, std::move(bounded)};
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{1, 2, 1, 3})
    send(made.udp, datagram("x", port, "198.51.100.7:9"));
  EXPECT_EQ(made.udp.flows(), 2U);
  EXPECT_EQ(made.udp.statistics().flows, 3U);
  EXPECT_EQ(made.udp.statistics().flows_evicted, 1U);
}

TEST_F(ProxyUdpTest, AFlowEndsWhenIdle) {
  Udp made{reactor_, endpoint_, lines_, options()};
  send(made.udp, datagram("one", 1000, "198.51.100.7:9"));
  const UniqueFd control = associate();
  reactor_.advance(119s);
  EXPECT_EQ(made.udp.flows(), 1U);
  reactor_.advance(10s);
  EXPECT_EQ(made.udp.flows(), 0U);
  char heard[100];
  EXPECT_EQ(::recv(control.get(), heard, sizeof heard, MSG_DONTWAIT), 13) << "the handshake";
  EXPECT_EQ(::recv(control.get(), heard, sizeof heard, MSG_DONTWAIT), 0) << "the end";
}

}  // namespace
}  // namespace tunport::tool
