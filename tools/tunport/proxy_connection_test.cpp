#include "proxy_connection.hpp"

#include <cerrno>
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
using testing::HasSubstr;
using testing::IsEmpty;

/// A proxy on the loopback that says what the test has it say, in virtual time.
class ProxyConnectionTest : public testing::Test {
 protected:
  ProxyConnectionTest() {
    sockaddr_storage address{};
    socklen_t length = Endpoint{IpAddress{"127.0.0.1"}, 0}.to_sockaddr(address);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listener_.get(), 10), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    endpoint_ = *Endpoint::from_sockaddr(address);
  }
  Proxy proxy(std::vector<Endpoint> endpoints, UpstreamKind kind = UpstreamKind::socks5) {
    return {{.kind = kind, .host = "proxy", .port = 1},
            std::move(endpoints),
            [this](const std::string& line) { lines_.push_back(line); }};
  }
  void begin(Proxy& proxy) {
    connection_ = std::make_unique<ProxyConnection>(
        reactor_, proxy, ProxyRequest{.destination = *Endpoint::parse("198.51.100.7:80")},
        [this](const std::error_code& ec, UniqueFd socket) {
          ++calls_;
          ec_ = ec;
          socket_ = std::move(socket);
        });
    reactor_.run_ready();
  }
  /// Takes the connection at the proxy.
  void accept() {
    peer_.reset(::accept(listener_.get(), nullptr, nullptr));
    reactor_.run_ready();
  }
  std::string heard() {
    std::string text(1000, '\0');
    const ssize_t got = ::recv(peer_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  void say(const std::string& text) {
    ASSERT_EQ(::send(peer_.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    reactor_.run_ready();
  }

  ManualReactor reactor_;
  UniqueFd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Endpoint endpoint_;
  std::vector<std::string> lines_;
  std::unique_ptr<ProxyConnection> connection_;
  UniqueFd peer_;
  int calls_ = 0;
  std::error_code ec_;
  UniqueFd socket_;
};

const std::string granted = "\5\0\0\1\0\0\0\0\0\0"s;

TEST_F(ProxyConnectionTest, TheBytesBehindTheHandshakeStayInTheSocket) {
  Proxy socks = proxy({endpoint_});
  begin(socks);
  accept();
  EXPECT_EQ(heard(), "\5\1\0"s);
  say("\5\0"s);
  EXPECT_EQ(heard().size(), 10U);
  say(granted + "first");
  EXPECT_EQ(calls_, 1);
  ASSERT_FALSE(ec_);
  char text[10];
  EXPECT_EQ(::recv(socket_.get(), text, sizeof text, 0), 5);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(ProxyConnectionTest, AnAnswerByteByByte) {
  Proxy web = proxy({endpoint_}, UpstreamKind::http);
  begin(web);
  accept();
  EXPECT_THAT(heard(), HasSubstr("CONNECT 198.51.100.7:80 HTTP/1.1\r\n"));
  for (const char c : "HTTP/1.1 200 OK\r\n\r\n"s) say({c});
  EXPECT_EQ(calls_, 1);
  EXPECT_TRUE(socket_);
}

TEST_F(ProxyConnectionTest, ARefusalOfTheDestinationIsNoFaultOfTheProxy) {
  Proxy socks = proxy({endpoint_});
  begin(socks);
  accept();
  say("\5\0\5\4\0\1\0\0\0\0\0\0"s);
  EXPECT_EQ(ec_, std::errc::host_unreachable);
  EXPECT_FALSE(socket_);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(ProxyConnectionTest, AFaultIsSaidOnceUntilTheProxyHasWorked) {
  Proxy socks = proxy({endpoint_});
  const auto fail = [&] {
    begin(socks);
    accept();
    say("garbage");
    EXPECT_EQ(ec_, std::errc::connection_refused);
  };
  fail();
  fail();
  EXPECT_THAT(lines_, ElementsAre("the proxy socks5://proxy:1: it does not speak SOCKS5; connections are "
                                  "refused meanwhile"));
  begin(socks);
  accept();
  say("\5\0"s + granted);
  EXPECT_FALSE(ec_);
  fail();
  EXPECT_EQ(lines_.size(), 2U);
}

TEST_F(ProxyConnectionTest, AProxyThatIsDownIsTriedAgainForTheNext) {
  Proxy socks = proxy({endpoint_});
  listener_.reset();
  begin(socks);
  begin(socks);
  EXPECT_EQ(calls_, 2);
  EXPECT_EQ(ec_, std::errc::connection_refused);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("Connection refused")));
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t length = endpoint_.to_sockaddr(address);
  ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(listener_.get(), 10), 0);
  begin(socks);
  EXPECT_EQ(calls_, 2) << "it waits for the proxy's answer";
}

TEST_F(ProxyConnectionTest, EachAddressOfAProxyIsTried) {
  // Nobody listens at port 1.
  Proxy socks = proxy({{IpAddress{"127.0.0.1"}, 1}, endpoint_});
  begin(socks);
  accept();
  say("\5\0"s + granted);
  EXPECT_TRUE(socket_);
}

TEST_F(ProxyConnectionTest, AProxyThatHangsIsLeftAfterHalfAMinute) {
  Proxy socks = proxy({endpoint_});
  begin(socks);
  reactor_.advance(15s);
  accept();
  say("\5"s);
  reactor_.advance(14s);
  EXPECT_EQ(calls_, 0);
  reactor_.advance(1s);
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(ec_, std::errc::connection_refused);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("no answer within 30 s")));
}

TEST_F(ProxyConnectionTest, AnEndInTheHandshakeIsAFault) {
  for (const bool by_reset : {false, true}) {
    Proxy socks = proxy({endpoint_});
    lines_.clear();
    begin(socks);
    accept();
    const linger at_once{by_reset ? 1 : 0, 0};
    ::setsockopt(peer_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (!by_reset) heard();
    peer_.reset();
    reactor_.run_ready();
    EXPECT_EQ(ec_, std::errc::connection_refused);
    EXPECT_THAT(lines_, ElementsAre(HasSubstr(by_reset ? "reset by peer" : "in the middle")));
  }
}

TEST_F(ProxyConnectionTest, TheDestructorEndsATry) {
  Proxy socks = proxy({endpoint_});
  begin(socks);
  accept();
  connection_.reset();
  reactor_.advance(60s);
  EXPECT_EQ(calls_, 0);
  EXPECT_EQ(heard(), "\5\1\0"s);
  EXPECT_EQ(::recv(peer_.get(), nullptr, 0, MSG_DONTWAIT), 0);
}

}  // namespace
}  // namespace tunport::tool
