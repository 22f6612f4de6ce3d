#pragma once
/// Neighbour discovery of IPv6 (RFC 4861): solicitations, advertisements, and their options.
///
///   neighbor solicitation and advertisement          an option
///   +------+------+----------+                        +------+--------+ - - - - -
///   | Type | Code | Checksum |                        | Type | Length | Value     the length counts 8 bytes
///   +------+------+----------+                        +------+--------+ - - - - -
///   | R S O | Reserved       |   flags of an advertisement only
///   +------------------------+
///   | Target address (16)    |
///   +------------------------+ - - -
///   | Options

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ip.hpp"

namespace tunport::neighbor_discovery {

/// The hop limit of every message: a router has forwarded a message with less (RFC 4861 7.1).
inline constexpr std::uint8_t hop_limit = 255;

/// Flags in the rest of an advertisement's header.
inline constexpr std::uint32_t router_flag = 1U << 31;
inline constexpr std::uint32_t solicited_flag = 1U << 30;
inline constexpr std::uint32_t override_flag = 1U << 29;

/// fe80::1 and the like: in fe80::/10.
constexpr bool is_link_local(const Ipv6Address& address) {
  return address.octets()[0] == 0xfe && (address.octets()[1] & 0xc0) == 0x80;
}
/// The first of `sources` for a packet to `host`: of the same family, link-local to link-local if there is
/// one.
std::optional<IpAddress> first_source(std::span<const IpAddress> sources, const IpAddress& host);
/// ff02::1, the group of all nodes of a link.
constexpr Ipv6Address all_nodes() { return Ipv6Address{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}; }
/// ff02::2, the group of all routers of a link.
constexpr Ipv6Address all_routers() {
  return Ipv6Address{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
}
/// ff02::1:ffXX:XXXX, the group at which `address` is asked for (RFC 4291 2.7.1).
constexpr Ipv6Address solicited_node(const Ipv6Address& address) {
  const auto& octets = address.octets();
  return Ipv6Address{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, octets[13], octets[14], octets[15]}};
}
/// 33:33:XX:XX:XX:XX, the station of a group (RFC 2464 7).
constexpr MacAddress group_mac(const Ipv6Address& group) {
  const auto& octets = group.octets();
  return MacAddress{{0x33, 0x33, octets[12], octets[13], octets[14], octets[15]}};
}
/// The link-local address of a station (RFC 4291 appendix A).
constexpr Ipv6Address link_local(const MacAddress& mac) {
  const auto& octets = mac.octets();
  return Ipv6Address{{0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(octets[0] ^ 2), octets[1],
                      octets[2], 0xff, 0xfe, octets[3], octets[4], octets[5]}};
}

/// A message of the kinds below that holds the rules of RFC 4861 6.1 and 7.1: hop limit 255, code 0, long
/// enough, options of a length above 0 that stay within the message.
struct Message {
  std::uint8_t type = 0;                   ///< of `icmpv6_type`
  std::uint32_t rest = 0;                  ///< the flags of an advertisement
  Ipv6Address target{};                    ///< of a neighbour's message
  std::optional<MacAddress> source_mac{};  ///< option 1, source link-layer address
  std::optional<MacAddress> target_mac{};  ///< option 2, target link-layer address

  /// The message in `icmp`, a router solicitation, or a neighbour's solicitation or advertisement; nothing if
  /// a rule is broken.
  static std::optional<Message> checked(const Icmpv6View& icmp, const IpView& ip);
};

/// A message for writing: the bytes behind the ICMPv6 header.
class Body {
 public:
  /// Adds an address, or option 1 or 2 with `mac`.
  Body& add(const Ipv6Address& address);
  Body& add(std::uint8_t option, const MacAddress& mac);
  /// Adds the numbers of a router advertisement: lifetimes in seconds; the rest is unspecified.
  Body& add_router_times();
  /// Adds option 3, prefix information: on-link, autonomous; lifetimes in seconds.
  Body& add_prefix(const IpPrefix& prefix, std::uint32_t valid, std::uint32_t preferred);
  /// Adds option 5, the MTU in bytes.
  Body& add_mtu(std::uint32_t mtu);
  Bytes bytes() const { return Bytes{bytes_}.first(size_); }

 private:
  std::array<std::byte, 96> bytes_{};
  std::size_t size_ = 0;
};

inline constexpr std::uint8_t source_link_layer_address = 1;
inline constexpr std::uint8_t target_link_layer_address = 2;

}  // namespace tunport::neighbor_discovery
