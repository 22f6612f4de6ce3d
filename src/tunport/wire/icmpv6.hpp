#pragma once
/// ICMPv6 (RFC 4443 2.1). The checksum covers the pseudo-header of IPv6.
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Type      |     Code      |           Checksum            |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Rest of header; echo: identifier, sequence number         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Payload; errors: the packet, as far as 1280 bytes allow
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

namespace ip_protocol {
inline constexpr std::uint8_t icmpv6 = 58;
inline constexpr std::uint8_t no_next_header = 59;  ///< nothing follows (RFC 8200 4.7)
}  // namespace ip_protocol

/// ICMPv6 types (IANA, "ICMPv6 type Numbers").
namespace icmpv6_type {
inline constexpr std::uint8_t destination_unreachable = 1;
inline constexpr std::uint8_t packet_too_big = 2;
inline constexpr std::uint8_t time_exceeded = 3;
inline constexpr std::uint8_t parameter_problem = 4;
inline constexpr std::uint8_t echo_request = 128;
inline constexpr std::uint8_t echo_reply = 129;
inline constexpr std::uint8_t router_solicitation = 133;
inline constexpr std::uint8_t router_advertisement = 134;
inline constexpr std::uint8_t neighbor_solicitation = 135;
inline constexpr std::uint8_t neighbor_advertisement = 136;
inline constexpr std::uint8_t redirect = 137;
}  // namespace icmpv6_type

/// An ICMPv6 header for writing.
struct Icmpv6Header {
  static constexpr std::size_t size = 8;  ///< bytes

  std::uint8_t type = 0;   ///< of `icmpv6_type`
  std::uint8_t code = 0;   ///< a code of the type
  std::uint32_t rest = 0;  ///< rest of header

  /// Writes the header with the checksum. `payload` follows the header, and may lie there already.
  /// Precondition: `out.size() >= size`.
  void emit(MutableBytes out, Bytes payload, const Ipv6Address& source, const Ipv6Address& destination) const;
};

/// A checked ICMPv6 message. Borrows the bytes.
class Icmpv6View {
 public:
  /// The message in `bytes`, a whole IP payload. Else nothing, and `why` is `icmp_short` or
  /// `icmp_bad_checksum`.
  static std::optional<Icmpv6View> checked(Bytes bytes, const Ipv6Address& source,
                                           const Ipv6Address& destination, DropReason& why);

  /// The type, of `icmpv6_type`.
  constexpr std::uint8_t type() const { return load_u8(bytes_, 0); }
  /// The code, with a meaning of its own for each type.
  constexpr std::uint8_t code() const { return load_u8(bytes_, 1); }
  /// The rest of the header.
  constexpr std::uint32_t rest() const { return load_be32(bytes_, 4); }
  /// True for an error message, to which no error may answer: types below 128.
  constexpr bool is_error() const { return type() < 128; }
  /// The bytes behind the header.
  constexpr Bytes payload() const { return bytes_.subspan(Icmpv6Header::size); }
  /// The whole message.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit Icmpv6View(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
