#include "proxy_handshake.hpp"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

namespace tunport::tool {
namespace {

// RFC 1928 and RFC 1929.
constexpr char version = 5;
constexpr char authentication_version = 1;
constexpr char no_authentication = 0;
constexpr char by_password = 2;
constexpr char nothing_acceptable = '\xff';
constexpr char connect = 1;
constexpr char associate = 3;
constexpr char type_v4 = 1;
constexpr char type_name = 3;
constexpr char type_v6 = 4;
constexpr std::size_t reply_head = 5;  // up to the length of a name

constexpr std::size_t longest_answer_of_http = std::size_t{16} * 1024;
constexpr std::size_t longest_status_line = 128;  // that is looked at

std::string be16(std::uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string bytes_of(const IpAddress& address) {
  std::array<std::byte, Ipv6Address::size> bytes{};
  const std::size_t size = address.is_v4() ? Ipv4Address::size : Ipv6Address::size;
  if (address.is_v4())
    address.v4().store(bytes, 0);
  else
    address.v6().store(bytes, 0);
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

/// RFC 4648 4.
std::string base64(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string encoded;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, text.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (j < count ? static_cast<unsigned char>(text[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j) encoded += j <= count ? digits[group >> (18 - 6 * j) & 0x3f] : '=';
  }
  return encoded;
}

/// The errno for the client of a reply of SOCKS5 (RFC 1928 6).
int error_of_reply(unsigned reply) {
  switch (reply) {
    case 2:
      return EACCES;
    case 3:
      return ENETUNREACH;
    case 4:
      return EHOSTUNREACH;
    case 6:
      return ETIMEDOUT;
    default:
      return ECONNREFUSED;
  }
}

/// The errno for the client of a status of an HTTP proxy (RFC 9110 15).
int error_of_status(unsigned status) {
  switch (status) {
    case 403:
      return EACCES;
    case 502:
      return EHOSTUNREACH;
    case 504:
      return ETIMEDOUT;
    default:
      return ECONNREFUSED;
  }
}

}  // namespace

ProxyHandshake::ProxyHandshake(const Upstream& proxy, const ProxyRequest& request)
    : proxy_{proxy}, request_{request} {
  if (!request_.name.empty() && !is_host_name(request_.name))
    fail(EHOSTUNREACH);
  else if (proxy_.kind == UpstreamKind::http)
    begin_http();
  else
    begin_socks5();
}

void ProxyHandshake::begin_socks5() {
  say(proxy_.has_credentials ? std::string{version, 2, no_authentication, by_password}
                             : std::string{version, 1, no_authentication});
  expect(Step::method, 2);
}

void ProxyHandshake::begin_http() {
  if (request_.associates) return fail(ECONNREFUSED);
  const Endpoint& to = request_.destination;
  const std::string place = request_.name.empty() ? to_string(Endpoint{to.address, to.port})
                                                  : request_.name + ':' + std::to_string(to.port);
  std::string text = "CONNECT " + place + " HTTP/1.1\r\nHost: " + place + "\r\n";
  if (proxy_.has_credentials)
    text += "Proxy-Authorization: Basic " + base64(proxy_.user + ':' + proxy_.password) + "\r\n";
  say(text + "\r\n");
  step_ = Step::status_line;
}

void ProxyHandshake::request_socks5() {
  // RFC 1928 7: without an address of our own, zeros.
  const Endpoint to = request_.associates ? Endpoint{} : request_.destination;
  std::string text{version, request_.associates ? associate : connect, 0};
  if (!request_.associates && !request_.name.empty()) {
    text += {type_name, static_cast<char>(request_.name.size())};
    text += request_.name;
  } else {
    text += to.address.is_v4() ? type_v4 : type_v6;
    text += bytes_of(to.address);
  }
  say(text + be16(to.port));
  expect(Step::reply, reply_head);
}

void ProxyHandshake::expect(Step step, std::size_t size) {
  step_ = step;
  answered_ = 0;
  expected_ = size;
}

std::size_t ProxyHandshake::receive(Bytes bytes) {
  std::size_t taken = 0;
  while (state_ == State::going_on && taken < bytes.size()) {
    if (step_ == Step::status_line || step_ == Step::headers) {
      take_byte_of_http(static_cast<char>(load_u8(bytes, taken++)));
      continue;
    }
    const std::size_t count = std::min(expected_ - answered_, bytes.size() - taken);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(taken), count,
                answer_.begin() + static_cast<std::ptrdiff_t>(answered_));
    taken += count;
    answered_ += count;
    if (answered_ == expected_) take_answer();
  }
  return taken;
}

void ProxyHandshake::end_of_stream() {
  if (state_ == State::going_on) fail(ECONNREFUSED, "it ends the connection in the middle of the handshake");
}

void ProxyHandshake::take_answer() {
  if (step_ == Step::authentication) {
    // The version is not checked: some proxies answer with 5.
    if (load_u8(answer_, 1) != 0) return fail(ECONNREFUSED, "it refuses user and password");
    return request_socks5();
  }
  if (static_cast<char>(load_u8(answer_, 0)) != version)
    return fail(ECONNREFUSED, "it does not speak SOCKS5");
  if (step_ == Step::method) return take_method();
  take_reply();
}

void ProxyHandshake::take_method() {
  const char method = static_cast<char>(load_u8(answer_, 1));
  if (method == no_authentication) return request_socks5();
  if (method == by_password && proxy_.has_credentials) {
    std::string text{authentication_version, static_cast<char>(proxy_.user.size())};
    text += proxy_.user;
    text += static_cast<char>(proxy_.password.size());
    text += proxy_.password;
    say(std::move(text));
    return expect(Step::authentication, 2);
  }
  if (method != nothing_acceptable) return fail(ECONNREFUSED, "it does not speak SOCKS5");
  fail(ECONNREFUSED, proxy_.has_credentials ? "it takes no user and password"
                                            : "it wants a user and a password; write USER:PASSWORD@ before "
                                              "the host");
}

void ProxyHandshake::take_reply() {
  const unsigned reply = load_u8(answer_, 1);
  if (reply == 7 || reply == 8) {
    is_unsupported_ = true;
    return fail(ECONNREFUSED, request_.associates ? std::string{}
                              : reply == 7        ? "it does not know how to connect"
                                                  : "it does not take this type of address");
  }
  if (reply != 0) return fail(error_of_reply(reply));
  const char type = static_cast<char>(load_u8(answer_, 3));
  if (type != type_v4 && type != type_v6 && type != type_name)
    return fail(ECONNREFUSED, "it does not speak SOCKS5");
  const std::size_t size = type == type_v4   ? Ipv4Address::size
                           : type == type_v6 ? Ipv6Address::size
                                             : std::size_t{1} + load_u8(answer_, 4);
  const std::size_t whole = reply_head - 1 + size + 2;
  if (answered_ < whole) {
    expected_ = whole;
    return;
  }
  const std::uint16_t port = load_be16(answer_, whole - 2);
  if (type == type_v4) bound_ = Endpoint{Ipv4Address::load(answer_, reply_head - 1), port};
  if (type == type_v6) bound_ = Endpoint{Ipv6Address::load(answer_, reply_head - 1), port};
  state_ = State::done;
}

void ProxyHandshake::take_byte_of_http(char byte) {
  if (++total_ > longest_answer_of_http) return fail(ECONNREFUSED, "its answer is longer than 16 KiB");
  if (byte == '\r') return;
  if (byte != '\n') {
    ++length_;
    if (step_ == Step::status_line && line_.size() < longest_status_line) line_ += byte;
    return;
  }
  const bool is_empty = std::exchange(length_, 0) == 0;
  if (step_ == Step::status_line) return take_status_line();
  if (is_empty) end_of_headers();
}

void ProxyHandshake::take_status_line() {
  // "HTTP/1.1 200 Connection established"
  constexpr std::size_t digits = 9;
  const auto digit = [this](std::size_t i) {
    return line_[digits + i] >= '0' && line_[digits + i] <= '9' ? line_[digits + i] - '0' : -1;
  };
  const bool is_http = line_.size() >= digits + 3 && line_.starts_with("HTTP/1.") &&
                       line_[digits - 1] == ' ' && digit(0) > 0 && digit(1) >= 0 && digit(2) >= 0 &&
                       (line_.size() == digits + 3 || line_[digits + 3] == ' ');
  if (!is_http) return fail(ECONNREFUSED, "it does not speak HTTP/1");
  status_ = static_cast<unsigned>(100 * digit(0) + 10 * digit(1) + digit(2));
  line_.clear();
  step_ = Step::headers;
}

void ProxyHandshake::end_of_headers() {
  if (status_ / 100 == 1 && status_ != 101) {
    step_ = Step::status_line;
    return;
  }
  if (status_ / 100 == 2) {
    state_ = State::done;
    return;
  }
  if (status_ == 407)
    return fail(ECONNREFUSED, proxy_.has_credentials
                                  ? "it refuses user and password"
                                  : "it wants a user and a password; write USER:PASSWORD@ before the host");
  if (status_ == 405 || status_ == 501) return fail(ECONNREFUSED, "it does not know CONNECT");
  fail(error_of_status(status_));
}

void ProxyHandshake::fail(int error, std::string fault) {
  state_ = State::failed;
  error_ = error;
  fault_ = std::move(fault);
  out_.clear();
  sent_ = 0;
}

}  // namespace tunport::tool
