#include "proxy_handshake.hpp"

#include <cerrno>
#include <random>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

using namespace std::string_literals;
using State = ProxyHandshake::State;
using testing::HasSubstr;

const Upstream socks5{.kind = UpstreamKind::socks5, .host = "127.0.0.1", .port = 1080};
const Upstream http{.kind = UpstreamKind::http, .host = "127.0.0.1", .port = 8080};

Upstream with_password(Upstream proxy) {
  proxy.has_credentials = true;
  proxy.user = "user";
  proxy.password = "pass";
  return proxy;
}

ProxyRequest to(const char* endpoint, const std::string& name = {}) {
  return {.destination = *Endpoint::parse(endpoint), .name = name};
}

/// What the handshake says next.
std::string said(ProxyHandshake& handshake) {
  std::string text{as_text(handshake.to_send())};
  handshake.sent(text.size());
  return text;
}

/// What is left of `bytes` behind the handshake.
std::string hear(ProxyHandshake& handshake, const std::string& bytes) {
  return bytes.substr(handshake.receive(as_bytes(bytes)));
}

const std::string granted = "\5\0\0\1\x7f\0\0\1\x04\x38"s;

TEST(ProxyHandshake, Socks5ConnectsToAnAddress) {
  ProxyHandshake handshake{socks5, to("198.51.100.7:80")};
  EXPECT_EQ(said(handshake), "\5\1\0"s);
  EXPECT_EQ(hear(handshake, "\5\0"s), "");
  EXPECT_EQ(said(handshake), "\5\1\0\1\xc6\x33\x64\7\0\x50"s);
  EXPECT_EQ(handshake.state(), State::going_on);
  EXPECT_EQ(hear(handshake, granted + "first"), "first");
  EXPECT_EQ(handshake.state(), State::done);
  EXPECT_EQ(handshake.bound(), Endpoint::parse("127.0.0.1:1080"));
  EXPECT_EQ(said(handshake), "");
  EXPECT_EQ(hear(handshake, "more"), "more");
}

TEST(ProxyHandshake, Socks5ConnectsToIpv6AndToNames) {
  ProxyHandshake v6{socks5, to("[2001:db8::7]:443")};
  said(v6);
  hear(v6, "\5\0"s);
  EXPECT_EQ(said(v6), "\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\1\xbb"s);
  ProxyHandshake name{socks5, to("198.18.0.1:80", "example.org")};
  said(name);
  hear(name, "\5\0"s);
  EXPECT_EQ(said(name), "\5\1\0\3\x0b"s + "example.org\0\x50"s);
  EXPECT_EQ(hear(name, "\5\0\0\3\4host\0\1x"s), "x");
  EXPECT_EQ(name.state(), State::done);
  EXPECT_EQ(name.bound(), std::nullopt);
}

TEST(ProxyHandshake, Socks5GivesThePasswordIfAsked) {
  ProxyHandshake handshake{with_password(socks5), to("198.51.100.7:80")};
  EXPECT_EQ(said(handshake), "\5\2\0\2"s);
  hear(handshake, "\5\2"s);
  EXPECT_EQ(said(handshake), "\1\4user\4pass"s);
  hear(handshake, "\1\0"s);
  EXPECT_EQ(said(handshake).substr(0, 4), "\5\1\0\1"s);
  hear(handshake, granted);
  EXPECT_EQ(handshake.state(), State::done);
}

TEST(ProxyHandshake, Socks5AssociatesWithZeros) {
  ProxyHandshake handshake{socks5, {.associates = true}};
  said(handshake);
  hear(handshake, "\5\0"s);
  EXPECT_EQ(said(handshake), "\5\3\0\1\0\0\0\0\0\0"s);
  hear(handshake, granted);
  EXPECT_EQ(handshake.bound(), Endpoint::parse("127.0.0.1:1080"));
}

TEST(ProxyHandshake, EachReplyOfSocks5IsAnErrno) {
  const int errors[] = {0,         ECONNREFUSED, EACCES,       ENETUNREACH, EHOSTUNREACH, ECONNREFUSED,
                        ETIMEDOUT, ECONNREFUSED, ECONNREFUSED, ECONNREFUSED};
  for (unsigned reply = 1; reply < std::size(errors); ++reply) {
    ProxyHandshake handshake{socks5, to("198.51.100.7:80")};
    hear(handshake, "\5\0"s);
    hear(handshake, "\5"s + static_cast<char>(reply) + "\0\1\0\0\0\0\0\0"s);
    EXPECT_EQ(handshake.state(), State::failed) << reply;
    EXPECT_EQ(handshake.error(), errors[reply]) << reply;
    EXPECT_EQ(handshake.fault().empty(), reply != 7 && reply != 8) << reply;
    EXPECT_EQ(handshake.is_unsupported(), reply == 7 || reply == 8) << reply;
  }
}

TEST(ProxyHandshake, FaultsOfASocks5Proxy) {
  const struct {
    Upstream proxy;
    std::string heard;
    const char* fault;
  } table[] = {
      {socks5, "HTTP/1.1 400 Bad Request\r\n", "does not speak SOCKS5"},
      {socks5, "\4\0"s, "does not speak SOCKS5"},
      {socks5, "\5\xff"s, "wants a user and a password"},
      {with_password(socks5), "\5\xff"s, "takes no user and password"},
      {socks5, "\5\2"s, "does not speak SOCKS5"},
      {socks5, "\5\1"s, "does not speak SOCKS5"},
      {with_password(socks5), "\5\2\1\1"s, "refuses user and password"},
      {socks5, "\5\0\4\0\0\1\0"s, "does not speak SOCKS5"},
      {socks5, "\5\0\5\0\0\2\0"s, "does not speak SOCKS5"},
  };
  for (const auto& [proxy, heard, fault] : table) {
    ProxyHandshake handshake{proxy, to("198.51.100.7:80")};
    hear(handshake, heard);
    EXPECT_EQ(handshake.state(), State::failed) << fault;
    EXPECT_EQ(handshake.error(), ECONNREFUSED);
    EXPECT_THAT(handshake.fault(), HasSubstr(fault));
    EXPECT_EQ(said(handshake), "");
  }
}

TEST(ProxyHandshake, HttpConnects) {
  ProxyHandshake plain{http, to("[2001:db8::7]:443")};
  EXPECT_EQ(said(plain), "CONNECT [2001:db8::7]:443 HTTP/1.1\r\nHost: [2001:db8::7]:443\r\n\r\n");
  ProxyHandshake handshake{with_password(http), to("198.18.0.1:80", "example.org")};
  EXPECT_EQ(said(handshake),
            "CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n"
            "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n");
  EXPECT_EQ(hear(handshake, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n\r\nfirst"), "\r\nfirst");
  EXPECT_EQ(handshake.state(), State::done);
}

TEST(ProxyHandshake, AnswersOfAnHttpProxy) {
  const struct {
    std::string heard;
    State state;
    int error;
    const char* fault;
  } table[] = {
      {"HTTP/1.0 200\n\n", State::done, 0, ""},
      {"HTTP/1.1 299 x\r\nContent-Length: 99\r\n\r\n", State::done, 0, ""},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", State::done, 0, ""},
      {"HTTP/1.1 100 Continue\r\n\r\n", State::going_on, 0, ""},
      {"HTTP/1.1 200 OK\r\n", State::going_on, 0, ""},
      {"HTTP/1.1 403 Forbidden\r\n\r\n", State::failed, EACCES, ""},
      {"HTTP/1.1 502 Bad Gateway\r\n\r\n", State::failed, EHOSTUNREACH, ""},
      {"HTTP/1.1 503 Service Unavailable\r\n\r\n", State::failed, ECONNREFUSED, ""},
      {"HTTP/1.1 504 Gateway Timeout\r\n\r\n", State::failed, ETIMEDOUT, ""},
      {"HTTP/1.1 301 Moved\r\n\r\n", State::failed, ECONNREFUSED, ""},
      {"HTTP/1.1 101 Switching\r\n\r\n", State::failed, ECONNREFUSED, ""},
      {"HTTP/1.1 407 Authenticate\r\n\r\n", State::failed, ECONNREFUSED, "wants a user and a password"},
      {"HTTP/1.1 405 No\r\n\r\n", State::failed, ECONNREFUSED, "does not know CONNECT"},
      {"\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {"HTTP/2 200\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {"HTTP/1.1 20\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {"HTTP/1.1 2000\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {"HTTP/1.1 -20\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {"SSH-2.0-OpenSSH\r\n", State::failed, ECONNREFUSED, "does not speak HTTP/1"},
      {std::string(20'000, 'x'), State::failed, ECONNREFUSED, "longer than 16 KiB"},
      {"HTTP/1.1 200 OK\r\n" + std::string(20'000, 'x'), State::failed, ECONNREFUSED, "longer than 16 KiB"},
  };
  for (const auto& [heard, state, error, fault] : table) {
    ProxyHandshake handshake{http, to("198.51.100.7:80")};
    EXPECT_LE(handshake.receive(as_bytes(heard)), 16U * 1024 + 1);
    EXPECT_EQ(handshake.state(), state) << heard;
    EXPECT_EQ(handshake.error(), error) << heard;
    EXPECT_THAT(handshake.fault(), HasSubstr(fault));
  }
  ProxyHandshake refused{with_password(http), to("198.51.100.7:80")};
  hear(refused, "HTTP/1.1 407 Authenticate\r\n\r\n");
  EXPECT_THAT(refused.fault(), HasSubstr("refuses user and password"));
}

TEST(ProxyHandshake, TheEndInTheMiddleIsAFault) {
  for (const Upstream& proxy : {socks5, http}) {
    ProxyHandshake handshake{proxy, to("198.51.100.7:80")};
    handshake.end_of_stream();
    EXPECT_EQ(handshake.error(), ECONNREFUSED);
    EXPECT_THAT(handshake.fault(), HasSubstr("in the middle"));
  }
}

TEST(ProxyHandshake, WhatCannotBeAskedForFailsAtOnce) {
  ProxyHandshake name{http, to("198.18.0.1:80", "a\r\nHost: b")};
  EXPECT_EQ(name.state(), State::failed);
  EXPECT_EQ(name.error(), EHOSTUNREACH);
  ProxyHandshake datagrams{http, {.associates = true}};
  EXPECT_EQ(datagrams.state(), State::failed);
  EXPECT_EQ(said(name) + said(datagrams), "");
}

/// However an answer is cut, the result and the rest are the same.
TEST(ProxyHandshakeProperty, ItDoesNotMatterHowTheStreamIsCut) {
  const struct {
    Upstream proxy;
    std::string stream;
    State state;
    std::string rest;
  } table[] = {
      {socks5, "\5\0"s + granted + "the rest", State::done, "the rest"},
      {with_password(socks5), "\5\2\1\0\5\0\0\3\xff"s + std::string(255, 'n') + "\1\2rest", State::done,
       "rest"},
      {socks5, "\5\0\5\0\0\4"s + std::string(18, '\1') + "\5", State::done, "\5"},
      {socks5, "\5\0\5\4\0\1\0\0\0\0\0\0rest"s, State::failed, "\0\0\0\0\0rest"s},
      {http, "HTTP/1.1 100 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\n", State::done, "\r\n"},
      {http, "HTTP/1.1 403 no\r\n\r\nbody", State::failed, "body"},
  };
  std::mt19937 random{7};
  for (const auto& [proxy, stream, state, rest] : table)
    for (int round = 0; round < 500; ++round) {
      ProxyHandshake handshake{proxy, to("198.51.100.7:80")};
      std::size_t at = 0;
      std::string left;
      while (at < stream.size()) {
        const std::size_t count = std::min<std::size_t>(1 + random() % 9, stream.size() - at);
        left += hear(handshake, stream.substr(at, count));
        at += count;
      }
      ASSERT_EQ(handshake.state(), state);
      ASSERT_EQ(left, rest);
    }
}

/// No answer makes the handshake take more than its bound, or go on behind its end.
TEST(ProxyHandshakeProperty, RandomAnswersEnd) {
  std::mt19937 random{11};
  for (int round = 0; round < 2'000; ++round) {
    ProxyHandshake handshake{random() % 2 == 0 ? with_password(socks5) : http, to("198.51.100.7:80")};
    std::string stream = handshake.state() == State::going_on && round % 3 == 0 ? "\5\0"s : ""s;
    for (int i = 0; i < 20'000 && round % 50 == 0; ++i) stream += static_cast<char>(random());
    for (int i = 0; i < 600; ++i) stream += static_cast<char>(random() % 8);
    const std::size_t taken = handshake.receive(as_bytes(stream));
    EXPECT_LE(taken, 16U * 1024 + 1);
    if (taken < stream.size()) {
      EXPECT_NE(handshake.state(), State::going_on);
    }
  }
}

}  // namespace
}  // namespace tunport::tool
