#pragma once
/// Chains of extension headers for tests.

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include "support/ipv6_kit.hpp"

namespace tunport::ipv6_kit {

/// An extension header; the first byte, the number of the next header, is set by `chain`.
struct Extension {
  std::uint8_t type = 0;
  Buffer bytes;
};

/// Hop-by-hop or destination options; `options` are padded to whole words.
inline Extension options(std::uint8_t type, Buffer options = {}) {
  Buffer bytes(2);
  bytes.insert(bytes.end(), options.begin(), options.end());
  while (bytes.size() % 8 != 0) bytes.emplace_back();
  store_u8(bytes, 1, static_cast<std::uint8_t>(bytes.size() / 8 - 1));
  return {type, bytes};
}

/// A routing header of type `type` with an address.
inline Extension routing(std::uint8_t segments_left, std::uint8_t type = 0) {
  Buffer bytes(24);
  store_u8(bytes, 1, 2);
  store_u8(bytes, 2, type);
  store_u8(bytes, 3, segments_left);
  return {ip_protocol::routing, bytes};
}

/// A fragment header.
inline Extension fragment_header(std::size_t offset = 0, bool more = false,
                                 std::uint32_t identification = 77) {
  Buffer bytes(8);
  store_be16(bytes, 2, static_cast<std::uint16_t>(offset | (more ? 1U : 0U)));
  store_be32(bytes, 4, identification);
  return {ip_protocol::ipv6_fragment, bytes};
}

/// An IPv6 packet: the headers in the given order, then `payload` of the protocol `last`.
inline Buffer chain(const std::vector<Extension>& headers, std::uint8_t last, Bytes payload,
                    const Ipv6Address& source = kernel_ip6, const Ipv6Address& destination = host_ip6) {
  Buffer all;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const std::size_t at = all.size();
    all.insert(all.end(), headers[i].bytes.begin(), headers[i].bytes.end());
    store_u8(all, at, i + 1 < headers.size() ? headers[i + 1].type : last);
  }
  const std::uint8_t first = headers.empty() ? last : headers.front().type;
  return ipv6({.next_header = first, .source = source, .destination = destination}, joined(all, payload));
}

/// The same with an ICMPv6 message as the payload.
inline Buffer chain_icmpv6(const std::vector<Extension>& headers, const Icmpv6Header& message,
                           Bytes payload = {}, const Ipv6Address& source = kernel_ip6,
                           const Ipv6Address& destination = host_ip6) {
  return chain(headers, ip_protocol::icmpv6, icmpv6(message, payload, source, destination), source,
               destination);
}

/// A chain with an echo request.
inline Buffer chain_echo(const std::vector<Extension>& headers, const Ipv6Address& source = kernel_ip6,
                         const Ipv6Address& destination = host_ip6) {
  return chain_icmpv6(headers, {.type = icmpv6_type::echo_request}, {}, source, destination);
}

}  // namespace tunport::ipv6_kit
