#include "publish.hpp"

#include <charconv>
#include <string_view>
#include <vector>

namespace tunport::tool {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || stop != end || port == 0) return std::nullopt;
  return port;
}

}  // namespace

std::optional<Published> Published::parse(const std::string& text, std::string& problem) {
  Published published{.outside = {IpAddress{"127.0.0.1"}, 0}};
  std::string_view rest = text;
  if (rest.ends_with("/udp") || rest.ends_with("/tcp")) {
    published.is_udp = rest.ends_with("/udp");
    rest.remove_suffix(4);
  }
  std::string_view address;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find("]:");
    if (end == std::string_view::npos) {
      problem = "the port is missing; write [ADDRESS]:PORT";
      return std::nullopt;
    }
    address = rest.substr(1, end - 1);
    rest.remove_prefix(end + 2);
  } else if (const std::size_t colon = rest.find(':');
             rest.substr(0, colon).find('.') != std::string_view::npos) {
    if (colon == std::string_view::npos) {
      problem = "the port is missing; write ADDRESS:PORT";
      return std::nullopt;
    }
    address = rest.substr(0, colon);
    rest.remove_prefix(colon + 1);
  }
  if (!address.empty()) {
    const auto parsed = IpAddress::parse(address);
    if (!parsed) {
      problem = "the address is one of this machine's, such as 127.0.0.1 or [::1], or 0.0.0.0 for each";
      return std::nullopt;
    }
    published.outside.address = *parsed;
  }
  const std::size_t colon = rest.find(':');
  const auto outside = parse_port(rest.substr(0, colon));
  const auto inside = colon == std::string_view::npos ? outside : parse_port(rest.substr(colon + 1));
  if (!outside || !inside) {
    problem = "a port is a number from 1 to 65535; write [ADDRESS:]PORT[:PORT][/udp], such as 8080:80";
    return std::nullopt;
  }
  published.outside.port = *outside;
  published.inside = *inside;
  return published;
}

}  // namespace tunport::tool
