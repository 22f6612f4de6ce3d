#pragma once
/// DHCP messages of IPv4 (RFC 2131 2; options: RFC 2132).
///
///   0: op  htype  hlen  hops | 4: xid | 8: secs  flags | 12: ciaddr | 16: yiaddr | 20: siaddr | 24: giaddr
///   28: chaddr (16) | 44: sname (64) | 108: file (128) | 236: 63 82 53 63 | 240: options: code, length,
///   value; 255 ends

#include <array>
#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport::dhcp {

inline constexpr std::uint16_t server_port = 67;
inline constexpr std::uint16_t client_port = 68;

/// The kinds of messages (option 53).
enum class Kind : std::uint8_t { discover = 1, offer, request, decline, ack, nak, release, inform };

/// A message of a client over Ethernet.
struct Request {
  Kind kind{};
  std::uint32_t transaction = 0;
  std::uint16_t flags = 0;  ///< 0x8000: the answer must be broadcast
  Ipv4Address client{};     ///< ciaddr: the client's address, if the client has one
  Ipv4Address relay{};      ///< giaddr: the relay that passed the message on
  MacAddress mac{};
  std::optional<Ipv4Address> requested{};  ///< option 50
  std::optional<Ipv4Address> server{};     ///< option 54

  /// The message in `bytes`, a UDP payload. Nothing for another message, or a broken one.
  static std::optional<Request> parse(Bytes bytes);
};

/// An answer of the server. Times in seconds.
struct Answer {
  static constexpr std::size_t size = 300;  ///< bytes: the least that old clients take

  Kind kind{};
  Ipv4Address address{};                     ///< yiaddr, the client's address from now on
  Ipv4Address server{};                      ///< option 54
  std::uint32_t lease = 0;                   ///< option 51; 0: not sent
  std::optional<unsigned> prefix_length{};   ///< option 1
  std::optional<Ipv4Address> router{};       ///< option 3
  std::optional<Ipv4Address> name_server{};  ///< option 6

  /// Writes the answer to `request`.
  std::array<std::byte, size> emit(const Request& request) const;
};

}  // namespace tunport::dhcp
