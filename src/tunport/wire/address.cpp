#include "tunport/wire/address.hpp"

#include <charconv>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

namespace tunport {
namespace {

/// The whole text as a number up to `most`.
std::optional<unsigned> number(std::string_view text, unsigned most) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value > most) return std::nullopt;
  return value;
}

/// As inet_pton, for a text without a terminator. A text with a NUL is refused: inet_pton would take the part
/// before the NUL.
template <std::size_t Size>
bool present_to_network(int family, std::string_view text, std::array<std::uint8_t, Size>& out) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos) return false;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  return ::inet_pton(family, buffer, out.data()) == 1;
}

/// The index of the interface that `text` names or numbers; nothing if there is none.
std::optional<std::uint32_t> scope_of(std::string_view text) {
  if (const auto index = number(text, UINT32_MAX)) return *index != 0 ? index : std::nullopt;
  const unsigned index = ::if_nametoindex(std::string{text}.c_str());
  return index != 0 ? std::optional{index} : std::nullopt;
}

}  // namespace

void detail::refuse_literal(std::string_view text) {
  throw std::invalid_argument{'"' + std::string{text} + "\" is not such an address"};
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  std::array<std::uint8_t, 6> octets{};
  for (std::size_t i = 0; i < size; ++i) {
    const char* const digits = text.data() + 3 * i;
    const auto [stop, error] = std::from_chars(digits, digits + 2, octets[i], 16);
    if (error != std::errc{} || stop != digits + 2) return std::nullopt;
    if (i + 1 < size && digits[2] != ':') return std::nullopt;
  }
  return MacAddress{octets};
}

std::optional<Ipv4Address> Ipv4Address::parse(std::string_view text) {
  std::array<std::uint8_t, size> octets{};
  if (!present_to_network(AF_INET, text, octets)) return std::nullopt;
  return load(std::as_bytes(std::span{octets}), 0);
}

std::optional<Ipv6Address> Ipv6Address::parse(std::string_view text) {
  std::array<std::uint8_t, size> octets{};
  if (!present_to_network(AF_INET6, text, octets)) return std::nullopt;
  return Ipv6Address{octets};
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  if (const auto v4 = Ipv4Address::parse(text)) return *v4;
  if (const auto v6 = Ipv6Address::parse(text)) return *v6;
  return std::nullopt;
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  const auto length = number(text.substr(slash + 1), address->bits());
  if (!length) return std::nullopt;
  return IpPrefix{*address, *length};
}

bool IpPrefix::contains(const IpAddress& other) const {
  if (other.is_v4() != address.is_v4()) return false;
  if (address.is_v4()) {
    const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
    return ((address.v4().value() ^ other.v4().value()) & mask) == 0;
  }
  const unsigned whole = length / 8;
  const auto& mine = address.v6().octets();
  const auto& its = other.v6().octets();
  if (std::memcmp(mine.data(), its.data(), whole) != 0) return false;
  return length % 8 == 0 || ((mine[whole] ^ its[whole]) & (0xff00U >> length % 8)) == 0;
}

Ipv4Address IpPrefix::broadcast_v4() const {
  if (length >= 31) return address.v4();
  return Ipv4Address{address.v4().value() | ~std::uint32_t{0} >> length};
}

Ipv4Address IpPrefix::network_v4() const {
  return Ipv4Address{length == 0 ? 0 : address.v4().value() & ~std::uint32_t{0} << (32 - length)};
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 1 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  std::optional<std::uint32_t> scope = 0;
  if (const auto percent = host.find('%'); percent != std::string_view::npos) {
    scope = scope_of(host.substr(percent + 1));
    host = host.substr(0, percent);
    if (!bracketed || !scope) return std::nullopt;
  }
  const auto address = IpAddress::parse(host);
  const auto port = number(text.substr(colon + 1), 0xffff);
  if (!address || !port || address->is_v6() != bracketed) return std::nullopt;
  return Endpoint{*address, static_cast<std::uint16_t>(*port), *scope};
}

std::optional<Endpoint> Endpoint::from_sockaddr(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof in);
    return Endpoint{Ipv4Address{network_order(in.sin_addr.s_addr)}, network_order(in.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    std::array<std::uint8_t, 16> octets{};
    std::memcpy(octets.data(), &in.sin6_addr, octets.size());
    return Endpoint{Ipv6Address{octets}, network_order(in.sin6_port), in.sin6_scope_id};
  }
  return std::nullopt;
}

unsigned Endpoint::to_sockaddr(sockaddr_storage& storage) const {
  storage = {};
  if (address.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = network_order(port);
    in.sin_addr.s_addr = network_order(address.v4().value());
    std::memcpy(&storage, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = network_order(port);
  in.sin6_scope_id = scope;
  std::memcpy(&in.sin6_addr, address.v6().octets().data(), Ipv6Address::size);
  std::memcpy(&storage, &in, sizeof in);
  return sizeof in;
}

std::string to_string(const MacAddress& mac) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned octet : mac.octets()) {
    if (!text.empty()) text += ':';
    text += digits[octet >> 4];
    text += digits[octet & 15];
  }
  return text;
}

std::string to_string(const Ipv4Address& address) {
  char text[INET_ADDRSTRLEN];
  const std::uint32_t wire = network_order(address.value());
  return ::inet_ntop(AF_INET, &wire, text, sizeof text);
}

std::string to_string(const Ipv6Address& address) {
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(AF_INET6, address.octets().data(), text, sizeof text);
}

std::string to_string(const IpAddress& address) {
  return address.is_v4() ? to_string(address.v4()) : to_string(address.v6());
}

std::string to_string(const IpPrefix& prefix) {
  return to_string(prefix.address) + '/' + std::to_string(prefix.length);
}

std::string to_string(const Endpoint& endpoint) {
  std::string host = to_string(endpoint.address);
  if (endpoint.scope != 0) host += '%' + std::to_string(endpoint.scope);
  return (endpoint.address.is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(endpoint.port);
}

}  // namespace tunport

std::size_t std::hash<tunport::IpAddress>::operator()(const tunport::IpAddress& address) const noexcept {
  if (address.is_v4()) return std::hash<std::uint32_t>{}(address.v4().value());
  return std::hash<std::string_view>{}(tunport::as_text(std::as_bytes(std::span{address.v6().octets()})));
}

std::size_t std::hash<tunport::Endpoint>::operator()(const tunport::Endpoint& endpoint) const noexcept {
  return (std::hash<tunport::IpAddress>{}(endpoint.address) * 65599U + endpoint.port) * 31U + endpoint.scope;
}
