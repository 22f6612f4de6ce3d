#include "upstream.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <netdb.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"

namespace tunport::tool {
namespace {

constexpr std::size_t longest_credential = 255;  // RFC 1929: a length of one byte
constexpr std::size_t longest_name = 253;
constexpr std::size_t longest_part = 63;
constexpr std::size_t most_endpoints = 4;

/// Percent-decoding (RFC 3986 2.1). Nothing for a '%' without two hexadecimal digits.
std::optional<std::string> decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned char value = 0;
    const char* const digits = text.data() + i + 1;
    if (text.size() - i < 3) return std::nullopt;
    const auto [stop, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc{} || stop != digits + 2) return std::nullopt;
    decoded += static_cast<char>(value);
    i += 2;
  }
  return decoded;
}

/// Reads "USER:PASSWORD". Returns the problem; empty without.
std::string read_credentials(std::string_view text, Upstream& upstream) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos)
    return "the password is missing; before '@' stands USER:PASSWORD, with %3A for a ':' in USER";
  const auto user = decode(text.substr(0, colon));
  const auto password = decode(text.substr(colon + 1));
  if (!user || !password)
    return "user or password: '%' stands before two hexadecimal digits; write %25 for '%' itself";
  for (const std::string& part : {*user, *password})
    if (part.empty() || part.size() > longest_credential) return "user and password have 1 to 255 bytes each";
  if (upstream.kind == UpstreamKind::http && user->find(':') != std::string::npos)
    return "the user of an HTTP proxy holds no ':' (RFC 7617)";
  upstream.has_credentials = true;
  upstream.user = *user;
  upstream.password = *password;
  return {};
}

/// Reads "HOST:PORT" or "[ADDRESS]:PORT". Returns the problem; empty without.
std::string read_place(std::string_view text, Upstream& upstream) {
  if (text.find_first_of("/?#") != std::string_view::npos)
    return "nothing stands behind the port, not even '/'";
  const std::string_view example = upstream.kind == UpstreamKind::http ? "127.0.0.1:8080" : "127.0.0.1:1080";
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || (text.ends_with(']') && text.starts_with('[')))
    return "the port is missing; write HOST:PORT, such as " + std::string{example};
  const std::string_view number = text.substr(colon + 1);
  const char* const end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, upstream.port);
  if (error != std::errc{} || stop != end || upstream.port == 0)
    return "the port is a number from 1 to 65535, such as in " + std::string{example};
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (!Ipv6Address::parse(host)) return "in brackets stands an IPv6 address without a scope, such as [::1]";
  } else if (host.find(':') != std::string_view::npos) {
    return "an IPv6 address stands in brackets, such as [::1]:1080";
  } else if (!Ipv4Address::parse(host) && !is_host_name(host)) {
    return "the host is an IPv4 address, an IPv6 address in brackets, or a name";
  }
  upstream.host = host;
  return {};
}

}  // namespace

std::optional<Upstream> Upstream::parse(std::string_view text, std::string& problem) {
  Upstream upstream;
  if (text == "direct") return upstream;
  constexpr std::string_view socks5 = "socks5://";
  constexpr std::string_view http = "http://";
  if (text.starts_with(socks5)) {
    upstream.kind = UpstreamKind::socks5;
    text.remove_prefix(socks5.size());
  } else if (text.starts_with(http)) {
    upstream.kind = UpstreamKind::http;
    text.remove_prefix(http.size());
  } else {
    problem = "not 'direct', socks5://HOST:PORT or http://HOST:PORT";
    return std::nullopt;
  }
  // A password may hold '@': the last one counts.
  const std::size_t at = text.rfind('@');
  if (at != std::string_view::npos) {
    problem = read_credentials(text.substr(0, at), upstream);
    if (!problem.empty()) return std::nullopt;
    text.remove_prefix(at + 1);
  }
  problem = read_place(text, upstream);
  if (!problem.empty()) return std::nullopt;
  return upstream;
}

std::string to_string(const Upstream& upstream) {
  if (upstream.kind == UpstreamKind::direct) return "direct";
  const bool is_v6 = upstream.host.find(':') != std::string::npos;
  return (upstream.kind == UpstreamKind::http ? "http://" : "socks5://") +
         (is_v6 ? '[' + upstream.host + ']' : upstream.host) + ':' + std::to_string(upstream.port);
}

bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > longest_name) return false;
  std::size_t part = 0;
  for (const char c : name) {
    if (c == '.') {
      if (part == 0) return false;
      part = 0;
      continue;
    }
    const bool is_known =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!is_known || ++part > longest_part) return false;
  }
  return part != 0;
}

std::vector<Endpoint> resolve(const Upstream& upstream, std::string& problem) {
  if (const auto address = IpAddress::parse(upstream.host)) return {{*address, upstream.port}};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(upstream.host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    problem = "'" + upstream.host + "': " +
              (error == EAI_SYSTEM ? errno_code(errno).message() : std::string{::gai_strerror(error)});
    return {};
  }
  std::vector<Endpoint> endpoints;
  for (const addrinfo* each = found; each != nullptr && endpoints.size() < most_endpoints;
       each = each->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof storage));
    auto endpoint = Endpoint::from_sockaddr(storage);
    if (!endpoint) continue;
    endpoint->port = upstream.port;
    endpoints.push_back(*endpoint);
  }
  ::freeaddrinfo(found);
  if (endpoints.empty()) problem = "'" + upstream.host + "' has no address";
  return endpoints;
}

}  // namespace tunport::tool
