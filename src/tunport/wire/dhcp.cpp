#include <algorithm>

#include "tunport/wire/dhcp_internal.hpp"

namespace tunport::dhcp {
namespace {

constexpr std::size_t options_at = 240;
constexpr std::uint32_t magic = 0x63825363;
constexpr std::uint8_t ethernet = 1;
constexpr std::uint8_t pad = 0;
constexpr std::uint8_t end = 255;

constexpr std::uint8_t subnet_mask = 1;
constexpr std::uint8_t router_option = 3;
constexpr std::uint8_t name_server_option = 6;
constexpr std::uint8_t requested_address = 50;
constexpr std::uint8_t lease_time = 51;
constexpr std::uint8_t message_type = 53;
constexpr std::uint8_t server_identifier = 54;

}  // namespace

std::optional<Request> Request::parse(Bytes bytes) {
  if (bytes.size() < options_at || load_u8(bytes, 0) != 1 || load_u8(bytes, 1) != ethernet ||
      load_u8(bytes, 2) != MacAddress::size || load_be32(bytes, 236) != magic)
    return std::nullopt;
  Request request{.transaction = load_be32(bytes, 4),
                  .flags = load_be16(bytes, 10),
                  .client = Ipv4Address::load(bytes, 12),
                  .relay = Ipv4Address::load(bytes, 24),
                  .mac = MacAddress::load(bytes, 28)};
  std::uint8_t kind = 0;
  for (std::size_t at = options_at; at < bytes.size();) {
    const std::uint8_t code = load_u8(bytes, at);
    if (code == end) break;
    if (code == pad) {
      ++at;
      continue;
    }
    if (bytes.size() - at < 2) return std::nullopt;
    const std::size_t length = load_u8(bytes, at + 1);
    at += 2;
    if (bytes.size() - at < length) return std::nullopt;
    if (code == message_type && length == 1) kind = load_u8(bytes, at);
    if (code == requested_address && length == 4) request.requested = Ipv4Address::load(bytes, at);
    if (code == server_identifier && length == 4) request.server = Ipv4Address::load(bytes, at);
    at += length;
  }
  if (kind < static_cast<std::uint8_t>(Kind::discover) || kind > static_cast<std::uint8_t>(Kind::inform))
    return std::nullopt;
  request.kind = static_cast<Kind>(kind);
  if (request.mac.is_multicast() || request.mac == MacAddress{}) return std::nullopt;
  return request;
}

std::array<std::byte, Answer::size> Answer::emit(const Request& request) const {
  std::array<std::byte, size> out{};
  store_u8(out, 0, 2);
  store_u8(out, 1, ethernet);
  store_u8(out, 2, MacAddress::size);
  store_be32(out, 4, request.transaction);
  store_be16(out, 10, request.flags);
  if (kind != Kind::nak) request.client.store(out, 12);
  address.store(out, 16);
  request.mac.store(out, 28);
  store_be32(out, 236, magic);
  std::size_t at = options_at;
  const auto add = [&](std::uint8_t code, std::uint32_t value) {
    store_u8(out, at, code);
    store_u8(out, at + 1, 4);
    store_be32(out, at + 2, value);
    at += 6;
  };
  store_u8(out, at, message_type);
  store_u8(out, at + 1, 1);
  store_u8(out, at + 2, static_cast<std::uint8_t>(kind));
  at += 3;
  add(server_identifier, server.value());
  if (lease != 0) add(lease_time, lease);
  if (prefix_length) add(subnet_mask, *prefix_length == 0 ? 0 : ~std::uint32_t{0} << (32 - *prefix_length));
  if (router) add(router_option, router->value());
  if (name_server) add(name_server_option, name_server->value());
  store_u8(out, at, end);
  return out;
}

}  // namespace tunport::dhcp
