#pragma once
/// Addresses as values: Ethernet, IPv4, IPv6, a prefix, an endpoint. Values are comparable and printable; IP
/// addresses and endpoints are hashable. Packets have addresses in network byte order.
///
/// `parse` is for text from outside (`Ipv4Address::parse(text)`), and returns nothing for wrong text. A
/// literal of the program is an address (`Ipv4Address gateway = "10.0.0.1"`); a wrong literal throws
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
  static constexpr std::size_t size = 6;  ///< bytes in a packet
  /// The address 00:00:00:00:00:00.
  constexpr MacAddress() = default;
  /// The address of six octets, in the order of the text form.
  constexpr explicit MacAddress(std::array<std::uint8_t, 6> octets) : octets_{octets} {}
  /// The address of a literal, as `parse`; throws std::invalid_argument for a wrong literal.
  // NOLINTNEXTLINE(google-explicit-constructor)
  MacAddress(const detail::Literal auto& literal) : MacAddress{detail::from_literal<MacAddress>(literal)} {}
  /// The address at `offset`. Precondition: `offset + size <= bytes.size()`.
  static constexpr MacAddress load(Bytes bytes, std::size_t offset) {
    MacAddress mac;
    for (std::size_t i = 0; i < size; ++i) mac.octets_[i] = load_u8(bytes, offset + i);
    return mac;
  }
  /// The address of a text: "02:00:00:00:00:01", 17 characters. Nothing for another text.
  static std::optional<MacAddress> parse(std::string_view text);
  /// The address ff:ff:ff:ff:ff:ff, of all stations.
  static constexpr MacAddress broadcast() { return MacAddress{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }

  /// Stores the address at `offset`. Precondition: `offset + size <= bytes.size()`.
  constexpr void store(MutableBytes bytes, std::size_t offset) const {
    for (std::size_t i = 0; i < size; ++i) store_u8(bytes, offset + i, octets_[i]);
  }
  /// The octets, in the order of the text form.
  constexpr const std::array<std::uint8_t, 6>& octets() const { return octets_; }
  /// True for a group, the broadcast address included: the group bit is set.
  constexpr bool is_multicast() const { return (octets_[0] & 1) != 0; }
  /// True for the broadcast address.
  constexpr bool is_broadcast() const { return *this == broadcast(); }
  constexpr auto operator<=>(const MacAddress&) const = default;

 private:
  std::array<std::uint8_t, 6> octets_{};
};

/// An IPv4 address.
class Ipv4Address {
 public:
  static constexpr std::size_t size = 4;  ///< bytes in a packet
  /// The address 0.0.0.0.
  constexpr Ipv4Address() = default;
  /// The address of a number in host order: 0x0a000001 is 10.0.0.1.
  constexpr explicit Ipv4Address(std::uint32_t value) : value_{value} {}
  /// The address of a literal, as `parse`; throws std::invalid_argument for a wrong literal.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Ipv4Address(const detail::Literal auto& literal)
      : Ipv4Address{detail::from_literal<Ipv4Address>(literal)} {}
  /// The address at `offset`. Precondition: `offset + size <= bytes.size()`.
  static constexpr Ipv4Address load(Bytes bytes, std::size_t offset) {
    return Ipv4Address{load_be32(bytes, offset)};
  }
  /// The address of a text: "10.0.0.1", four decimal numbers. Nothing for another text.
  static std::optional<Ipv4Address> parse(std::string_view text);

  /// Stores the address at `offset`. Precondition: `offset + size <= bytes.size()`.
  constexpr void store(MutableBytes bytes, std::size_t offset) const { store_be32(bytes, offset, value_); }
  /// The address as a number in host order.
  constexpr std::uint32_t value() const { return value_; }
  /// True for 0.0.0.0.
  constexpr bool is_unspecified() const { return value_ == 0; }
  /// True in 127.0.0.0/8.
  constexpr bool is_loopback() const { return value_ >> 24 == 127; }
  /// True for a group, in 224.0.0.0/4.
  constexpr bool is_multicast() const { return value_ >> 28 == 0xe; }
  /// True for 255.255.255.255. The directed broadcast of a subnet depends on the prefix
  /// (`IpPrefix::broadcast_v4`).
  constexpr bool is_broadcast() const { return value_ == 0xffffffff; }
  constexpr auto operator<=>(const Ipv4Address&) const = default;

 private:
  std::uint32_t value_ = 0;
};

/// True for an address that a single host on a link can have (RFC 1122 3.2.1.3): not in 0/8, no loopback, no
/// group, not 255.255.255.255. The rest of 240/4 is ordinary, as in Linux.
constexpr bool is_single_host(Ipv4Address address) {
  return address.value() >> 24 != 0 && !address.is_loopback() && !address.is_multicast() &&
         !address.is_broadcast();
}

/// An IPv6 address, without a scope.
class Ipv6Address {
 public:
  static constexpr std::size_t size = 16;  ///< bytes in a packet
  /// The address "::".
  constexpr Ipv6Address() = default;
  /// The address of sixteen octets, in network order.
  constexpr explicit Ipv6Address(std::array<std::uint8_t, 16> octets) : octets_{octets} {}
  /// The address of a literal, as `parse`; throws std::invalid_argument for a wrong literal.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Ipv6Address(const detail::Literal auto& literal)
      : Ipv6Address{detail::from_literal<Ipv6Address>(literal)} {}
  /// The address at `offset`. Precondition: `offset + size <= bytes.size()`.
  static constexpr Ipv6Address load(Bytes bytes, std::size_t offset) {
    Ipv6Address address;
    for (std::size_t i = 0; i < size; ++i) address.octets_[i] = load_u8(bytes, offset + i);
    return address;
  }
  /// The address of a text: "fd00::1" (RFC 4291 2.2), without a scope. Nothing for another text.
  static std::optional<Ipv6Address> parse(std::string_view text);

  /// Stores the address at `offset`. Precondition: `offset + size <= bytes.size()`.
  constexpr void store(MutableBytes bytes, std::size_t offset) const {
    for (std::size_t i = 0; i < size; ++i) store_u8(bytes, offset + i, octets_[i]);
  }
  /// The octets, in network order.
  constexpr const std::array<std::uint8_t, 16>& octets() const { return octets_; }
  /// True for "::".
  constexpr bool is_unspecified() const { return *this == Ipv6Address{}; }
  /// True for a group, in ff00::/8.
  constexpr bool is_multicast() const { return octets_[0] == 0xff; }
  constexpr auto operator<=>(const Ipv6Address&) const = default;

 private:
  std::array<std::uint8_t, 16> octets_{};
};

/// An IPv4 or an IPv6 address.
class IpAddress {
 public:
  /// The address 0.0.0.0.
  constexpr IpAddress() = default;
  constexpr IpAddress(Ipv4Address v4) : v4_{v4} {}                // NOLINT(google-explicit-constructor)
  constexpr IpAddress(Ipv6Address v6) : is_v6_{true}, v6_{v6} {}  // NOLINT(google-explicit-constructor)
  /// The address of a literal, as `parse`; throws std::invalid_argument for a wrong literal.
  // NOLINTNEXTLINE(google-explicit-constructor)
  IpAddress(const detail::Literal auto& literal) : IpAddress{detail::from_literal<IpAddress>(literal)} {}
  /// The address of a text, as `Ipv4Address::parse` or `Ipv6Address::parse`. Nothing for another text.
  static std::optional<IpAddress> parse(std::string_view text);

  /// True for an IPv4 address.
  constexpr bool is_v4() const { return !is_v6_; }
  /// True for an IPv6 address.
  constexpr bool is_v6() const { return is_v6_; }
  /// The IPv4 address. Precondition: `is_v4()`.
  constexpr Ipv4Address v4() const { return v4_; }
  /// The IPv6 address. Precondition: `is_v6()`.
  constexpr const Ipv6Address& v6() const { return v6_; }
  /// The length of the address, in bits: 32 or 128.
  constexpr unsigned bits() const { return is_v6_ ? 128 : 32; }
  /// True for 0.0.0.0 and ::.
  constexpr bool is_unspecified() const { return is_v6_ ? v6_.is_unspecified() : v4_.is_unspecified(); }
  /// True for 224.0.0.0/4 and ff00::/8.
  constexpr bool is_multicast() const { return is_v6_ ? v6_.is_multicast() : v4_.is_multicast(); }
  constexpr auto operator<=>(const IpAddress&) const = default;
  /// Compares the address of the family only: ports compare an address for each datagram.
  constexpr bool operator==(const IpAddress& other) const {
    return is_v6_ == other.is_v6_ && (is_v6_ ? v6_ == other.v6_ : v4_ == other.v4_);
  }

 private:
  bool is_v6_ = false;
  Ipv4Address v4_;
  Ipv6Address v6_;
};

/// An address with a prefix length: "10.77.0.1/24". The host bits stay.
struct IpPrefix {
  IpAddress address;
  unsigned length = 0;  ///< bits, 0 to 32 or 128

  /// The prefix 0.0.0.0/0.
  IpPrefix() = default;
  /// The prefix of an address and a length in bits. Precondition: `bits <= of.bits()`.
  IpPrefix(const IpAddress& of, unsigned bits) : address{of}, length{bits} {}
  /// The prefix of a literal, as `parse`; throws std::invalid_argument for a wrong literal.
  // NOLINTNEXTLINE(google-explicit-constructor)
  IpPrefix(const detail::Literal auto& literal) : IpPrefix{detail::from_literal<IpPrefix>(literal)} {}
  /// The prefix of a text: ADDRESS/LENGTH. Nothing for another text, or a length beyond the address's.
  static std::optional<IpPrefix> parse(std::string_view text);
  /// True if `other` is of the same family, and within the prefix.
  bool contains(const IpAddress& other) const;
  /// The directed broadcast address of the subnet; the address itself for /31 and /32. Precondition: IPv4.
  Ipv4Address broadcast_v4() const;
  /// The lowest address of the subnet: all host bits are zero. Precondition: IPv4.
  Ipv4Address network_v4() const;
  auto operator<=>(const IpPrefix&) const = default;
};

/// An address and a UDP port.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;  ///< in host order
  /// The scope of an IPv6 link-local address: the interface's index (RFC 4007 6); 0: none.
  std::uint32_t scope = 0;

  /// The endpoint of a text: "10.0.0.2:42" or "[fd00::1]:42"; with a scope, the name or the index of an
  /// interface, "[fe80::1%eth0]:42". Nothing for another text.
  static std::optional<Endpoint> parse(std::string_view text);
  /// The endpoint of a socket call's address. Nothing for a family other than AF_INET and AF_INET6.
  static std::optional<Endpoint> from_sockaddr(const sockaddr_storage& storage);
  /// Fills `storage` for a socket call. Returns the length in bytes.
  unsigned to_sockaddr(sockaddr_storage& storage) const;
  auto operator<=>(const Endpoint&) const = default;
};

/// The text form: "02:00:00:00:00:01", in small letters.
std::string to_string(const MacAddress& mac);
/// The text form: "10.0.0.1".
std::string to_string(const Ipv4Address& address);
/// The shortest text form: "fd00::1".
std::string to_string(const Ipv6Address& address);
/// The text form of the IPv4 or IPv6 address.
std::string to_string(const IpAddress& address);
/// The text form: "10.77.0.1/24".
std::string to_string(const IpPrefix& prefix);
/// The text form: "10.0.0.2:42" or "[fd00::1]:42"; with a scope "[fe80::1%2]:42", by the index.
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
