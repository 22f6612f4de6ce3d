#include "gate_rules.hpp"

#include <algorithm>
#include <charconv>

namespace tunport::tool {
namespace {

const Ipv4Address loopback_v4{0x7f000001};
const Ipv6Address loopback_v6{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr std::uint16_t dns_port = 53;

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || stop != end || port == 0) return std::nullopt;
  return port;
}

std::optional<IpPrefix> parse_prefix(std::string_view text) {
  if (const auto prefix = IpPrefix::parse(text)) return prefix;
  if (const auto address = IpAddress::parse(text)) return IpPrefix{*address, address->bits()};
  return std::nullopt;
}

/// Splits "ADDRESS:PORT" or "[ADDRESS]:PORT"; the port may be missing.
bool split(std::string_view text, std::string_view& address, std::optional<std::uint16_t>& port) {
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    address = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const std::size_t colon = text.find(':');
    // More than one colon: an IPv6 address without a port.
    const bool has_port =
        colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos;
    address = has_port ? text.substr(0, colon) : text;
    rest = has_port ? text.substr(colon) : std::string_view{};
  }
  if (rest.empty()) return true;
  if (!rest.starts_with(':')) return false;
  port = parse_port(rest.substr(1));
  return port.has_value();
}

std::optional<GateRefusal> refusal_named(std::string_view text) {
  if (text == "refuse") return GateRefusal::reset;
  if (text == "unreachable") return GateRefusal::host_unreachable;
  if (text == "prohibited") return GateRefusal::prohibited;
  if (text == "drop") return GateRefusal::drop;
  return std::nullopt;
}

std::optional<unsigned> longest(const std::vector<IpPrefix>& prefixes, const IpAddress& address) {
  std::optional<unsigned> length;
  for (const IpPrefix& prefix : prefixes)
    if (prefix.contains(address)) length = std::max(length.value_or(0), prefix.length);
  return length;
}

bool is_loopback(const IpAddress& address) {
  return address.is_v4() ? address.v4().is_loopback() : address.v6() == loopback_v6;
}

}  // namespace

std::optional<GateMapping> GateMapping::parse(const std::string& text, std::string& problem) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) {
    problem = "the target is missing; write DESTINATION=TARGET, such as 203.0.113.7:80=127.0.0.1:8080";
    return std::nullopt;
  }
  GateMapping mapping;
  std::string_view address;
  const std::string_view whole{text};
  if (!split(whole.substr(0, equals), address, mapping.port)) {
    problem = "the destination's port is a number from 1 to 65535";
    return std::nullopt;
  }
  if (address != "*") {
    mapping.destination = parse_prefix(address);
    if (!mapping.destination) {
      problem = "the destination is an address, a prefix, or '*', with ':PORT' behind if wanted";
      return std::nullopt;
    }
  }
  const std::string_view target = whole.substr(equals + 1);
  if (const auto refusal = refusal_named(target)) {
    mapping.refusal = *refusal;
    return mapping;
  }
  std::optional<std::uint16_t> port;
  const auto to = split(target, address, port) ? IpAddress::parse(address) : std::nullopt;
  if (!to) {
    problem = "the target is ADDRESS:PORT, or one of refuse, unreachable, prohibited and drop";
    return std::nullopt;
  }
  mapping.target = Endpoint{*to, port.value_or(0)};
  return mapping;
}

GateTarget GateRules::decide(const Endpoint& destination) const {
  const IpAddress& address = destination.address;
  for (const GateMapping& map : maps) {
    if (map.destination && !map.destination->contains(address)) continue;
    if (map.port && *map.port != destination.port) continue;
    if (!map.target) return {.endpoint = destination, .refusal = map.refusal};
    Endpoint target = *map.target;
    if (target.port == 0) target.port = destination.port;
    return {.endpoint = target, .way = GateWay::direct};
  }
  if (std::ranges::find(dns, Endpoint{address, dns_port}) != dns.end() && destination.port == dns_port) {
    if (answers_names) return {.endpoint = destination, .refusal = GateRefusal::reset, .way = GateWay::names};
    if (resolvers.empty()) return {.endpoint = destination, .refusal = GateRefusal::reset};
    return {.endpoint = resolvers.front(), .way = GateWay::direct};
  }
  if (std::ranges::find(gateways, address) != gateways.end()) {
    if (!allow_host_loopback) return {.endpoint = destination, .refusal = GateRefusal::prohibited};
    return {.endpoint = {address.is_v4() ? IpAddress{loopback_v4} : IpAddress{loopback_v6}, destination.port},
            .way = GateWay::direct};
  }
  const auto allow = longest(allowed, address);
  const auto deny = longest(denied, address);
  if (deny && (!allow || *allow < *deny))
    return {.endpoint = destination, .refusal = GateRefusal::prohibited};
  if (is_loopback(address)) {
    if (!allow_host_loopback) return {.endpoint = destination, .refusal = GateRefusal::prohibited};
    return {.endpoint = destination, .way = GateWay::direct};
  }
  if (longest(inside, address)) return {.endpoint = destination, .refusal = GateRefusal::host_unreachable};
  return {.endpoint = destination};
}

}  // namespace tunport::tool
