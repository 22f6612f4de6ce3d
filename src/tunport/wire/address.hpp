#pragma once
/// Addresses as values: Ethernet, IPv4, IPv6, a prefix, an endpoint. Comparable, printable, parsed from text;
/// IP addresses and endpoints are hashable. On the wire they lie in network byte order.
///
/// Text that comes from elsewhere is parsed (`Ipv4Address::parse(text)`, nothing if it is wrong); a literal
/// of the program is an address (`Ipv4Address gateway = "10.0.0.1"`), and a wrong one throws
/// std::invalid_argument.

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "tunport/base/bytes.hpp"

struct sockaddr;
struct sockaddr_storage;

namespace tunport {
namespace detail {

template <class T>
constexpr bool is_text = false;
template <std::size_t N>
constexpr bool is_text<char[N]> = true;
template <class T>
concept Literal = is_text<T>;

[[noreturn]] void refuse_literal(std::string_view text);

template <class Address>
Address from_literal(std::string_view text) {
  if (const auto address = Address::parse(text)) return *address;
  refuse_literal(text);
}

}  // namespace detail

/// A 48-bit Ethernet address (IEEE 802).
class MacAddress {
 public:
  static constexpr std::size_t size = 6;
  constexpr MacAddress() = default;
  constexpr explicit MacAddress(std::array<std::uint8_t, 6> octets) : octets_{octets} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  MacAddress(const detail::Literal auto& literal) : MacAddress{detail::from_literal<MacAddress>(literal)} {}
  /// The six bytes at `offset`. Precondition: `offset + 6 <= bytes.size()`.
  static constexpr MacAddress load(Bytes bytes, std::size_t offset) {
    MacAddress mac;
    for (std::size_t i = 0; i < size; ++i) mac.octets_[i] = load_u8(bytes, offset + i);
    return mac;
  }
  /// "02:00:00:00:00:01"; nothing if the text is not that.
  static std::optional<MacAddress> parse(std::string_view text);
  static constexpr MacAddress broadcast() { return MacAddress{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }

  constexpr void store(MutableBytes bytes, std::size_t offset) const {
    for (std::size_t i = 0; i < size; ++i) store_u8(bytes, offset + i, octets_[i]);
  }
  constexpr const std::array<std::uint8_t, 6>& octets() const { return octets_; }
  /// The group bit: multicast and broadcast.
  constexpr bool is_multicast() const { return (octets_[0] & 1) != 0; }
  constexpr bool is_broadcast() const { return *this == broadcast(); }
  constexpr auto operator<=>(const MacAddress&) const = default;

 private:
  std::array<std::uint8_t, 6> octets_{};
};

/// An IPv4 address.
class Ipv4Address {
 public:
  static constexpr std::size_t size = 4;
  constexpr Ipv4Address() = default;
  /// From the number in host order: 0x0a000001 is 10.0.0.1.
  constexpr explicit Ipv4Address(std::uint32_t value) : value_{value} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Ipv4Address(const detail::Literal auto& literal)
      : Ipv4Address{detail::from_literal<Ipv4Address>(literal)} {}
  static constexpr Ipv4Address load(Bytes bytes, std::size_t offset) {
    return Ipv4Address{load_be32(bytes, offset)};
  }
  static std::optional<Ipv4Address> parse(std::string_view text);

  constexpr void store(MutableBytes bytes, std::size_t offset) const { store_be32(bytes, offset, value_); }
  /// The number in host order.
  constexpr std::uint32_t value() const { return value_; }
  constexpr bool is_unspecified() const { return value_ == 0; }
  constexpr bool is_loopback() const { return value_ >> 24 == 127; }
  constexpr bool is_multicast() const { return value_ >> 28 == 0xe; }
  /// 255.255.255.255. A subnet's directed broadcast is known to its prefix only.
  constexpr bool is_broadcast() const { return value_ == 0xffffffff; }
  constexpr auto operator<=>(const Ipv4Address&) const = default;

 private:
  std::uint32_t value_ = 0;
};

/// An IPv6 address.
class Ipv6Address {
 public:
  static constexpr std::size_t size = 16;
  constexpr Ipv6Address() = default;
  constexpr explicit Ipv6Address(std::array<std::uint8_t, 16> octets) : octets_{octets} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Ipv6Address(const detail::Literal auto& literal)
      : Ipv6Address{detail::from_literal<Ipv6Address>(literal)} {}
  static constexpr Ipv6Address load(Bytes bytes, std::size_t offset) {
    Ipv6Address address;
    for (std::size_t i = 0; i < size; ++i) address.octets_[i] = load_u8(bytes, offset + i);
    return address;
  }
  static std::optional<Ipv6Address> parse(std::string_view text);

  constexpr void store(MutableBytes bytes, std::size_t offset) const {
    for (std::size_t i = 0; i < size; ++i) store_u8(bytes, offset + i, octets_[i]);
  }
  constexpr const std::array<std::uint8_t, 16>& octets() const { return octets_; }
  constexpr bool is_unspecified() const { return *this == Ipv6Address{}; }
  constexpr bool is_multicast() const { return octets_[0] == 0xff; }
  constexpr auto operator<=>(const Ipv6Address&) const = default;

 private:
  std::array<std::uint8_t, 16> octets_{};
};

/// An IPv4 or an IPv6 address. Default: 0.0.0.0.
class IpAddress {
 public:
  constexpr IpAddress() = default;
  constexpr IpAddress(Ipv4Address v4) : v4_{v4} {}                // NOLINT(google-explicit-constructor)
  constexpr IpAddress(Ipv6Address v6) : is_v6_{true}, v6_{v6} {}  // NOLINT(google-explicit-constructor)
  // NOLINTNEXTLINE(google-explicit-constructor)
  IpAddress(const detail::Literal auto& literal) : IpAddress{detail::from_literal<IpAddress>(literal)} {}
  static std::optional<IpAddress> parse(std::string_view text);

  constexpr bool is_v4() const { return !is_v6_; }
  constexpr bool is_v6() const { return is_v6_; }
  /// Precondition: `is_v4()`.
  constexpr Ipv4Address v4() const { return v4_; }
  /// Precondition: `is_v6()`.
  constexpr const Ipv6Address& v6() const { return v6_; }
  /// 32 or 128: the length of the address, in bits.
  constexpr unsigned bits() const { return is_v6_ ? 128 : 32; }
  constexpr auto operator<=>(const IpAddress&) const = default;

 private:
  bool is_v6_ = false;
  Ipv4Address v4_;
  Ipv6Address v6_;
};

/// An address with a prefix length: "10.77.0.1/24". The host bits stay.
struct IpPrefix {
  IpAddress address;
  unsigned length = 0;  ///< bits, 0 to 32 or 128

  IpPrefix() = default;
  IpPrefix(const IpAddress& of, unsigned bits) : address{of}, length{bits} {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  IpPrefix(const detail::Literal auto& literal) : IpPrefix{detail::from_literal<IpPrefix>(literal)} {}
  /// Nothing if the text is not ADDRESS/LENGTH, or the length is beyond the address's.
  static std::optional<IpPrefix> parse(std::string_view text);
  /// True if `other` is of the same family and within the prefix.
  bool contains(const IpAddress& other) const;
  /// IPv4: the directed broadcast address of the subnet; the address itself for /31 and /32.
  Ipv4Address broadcast_v4() const;
  /// IPv4: the subnet's lowest address, all host bits zero.
  Ipv4Address network_v4() const;
  auto operator<=>(const IpPrefix&) const = default;
};

/// An address and a UDP port, in host order.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  /// "10.0.0.2:42" or "[fe80::1]:42".
  static std::optional<Endpoint> parse(std::string_view text);
  /// From what a socket call returned; nothing if it is of another family.
  static std::optional<Endpoint> from_sockaddr(const sockaddr_storage& storage);
  /// For a socket call; returns the length in bytes.
  unsigned to_sockaddr(sockaddr_storage& storage) const;
  auto operator<=>(const Endpoint&) const = default;
};

std::string to_string(const MacAddress& mac);
std::string to_string(const Ipv4Address& address);
std::string to_string(const Ipv6Address& address);
std::string to_string(const IpAddress& address);
std::string to_string(const IpPrefix& prefix);
std::string to_string(const Endpoint& endpoint);

}  // namespace tunport

template <>
struct std::hash<tunport::IpAddress> {
  std::size_t operator()(const tunport::IpAddress& address) const noexcept;
};
template <>
struct std::hash<tunport::Endpoint> {
  std::size_t operator()(const tunport::Endpoint& endpoint) const noexcept;
};
