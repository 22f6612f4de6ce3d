#pragma once
/// ICMP (RFC 792; errors among the messages: RFC 1122 3.2.2).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Type      |     Code      |           Checksum            |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Rest of header; echo: identifier, sequence number         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     Payload; errors: the IP header and what followed it
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// ICMP types (IANA, "ICMP Type Numbers").
namespace icmp_type {
inline constexpr std::uint8_t echo_reply = 0;
inline constexpr std::uint8_t destination_unreachable = 3;
inline constexpr std::uint8_t source_quench = 4;
inline constexpr std::uint8_t redirect = 5;
inline constexpr std::uint8_t echo_request = 8;
inline constexpr std::uint8_t time_exceeded = 11;
inline constexpr std::uint8_t parameter_problem = 12;
}  // namespace icmp_type

/// Codes of "destination unreachable".
namespace icmp_unreachable {
inline constexpr std::uint8_t net = 0;
inline constexpr std::uint8_t host = 1;
inline constexpr std::uint8_t protocol = 2;
inline constexpr std::uint8_t port = 3;
inline constexpr std::uint8_t fragmentation_needed = 4;
}  // namespace icmp_unreachable

/// An ICMP header for writing.
struct IcmpHeader {
  static constexpr std::size_t size = 8;  ///< bytes

  std::uint8_t type = 0;   ///< of `icmp_type`
  std::uint8_t code = 0;   ///< a code of the type
  std::uint32_t rest = 0;  ///< rest of header

  /// The rest of header of an echo.
  static constexpr std::uint32_t echo_rest(std::uint16_t id, std::uint16_t sequence) {
    return std::uint32_t{id} << 16 | sequence;
  }
  /// Writes the header with the checksum. `payload` follows the header, and may lie there already.
  /// Precondition: `out.size() >= size`.
  void emit(MutableBytes out, Bytes payload) const;
};

/// A checked ICMP message. Borrows the bytes.
class IcmpView {
 public:
  /// The message in `bytes`, a whole IP payload. Else nothing, and `why` is `icmp_short` or
  /// `icmp_bad_checksum`.
  static std::optional<IcmpView> checked(Bytes bytes, DropReason& why);

  /// The type, of `icmp_type`.
  constexpr std::uint8_t type() const { return load_u8(bytes_, 0); }
  /// The code, with a meaning of its own for each type.
  constexpr std::uint8_t code() const { return load_u8(bytes_, 1); }
  /// The rest of the header.
  constexpr std::uint32_t rest() const { return load_be32(bytes_, 4); }
  /// The identifier of an echo request or reply.
  constexpr std::uint16_t echo_id() const { return load_be16(bytes_, 4); }
  /// The sequence number of an echo request or reply.
  constexpr std::uint16_t echo_sequence() const { return load_be16(bytes_, 6); }
  /// True for an error message, to which no error may answer: unreachable, source quench, redirect, time
  /// exceeded, parameter problem.
  bool is_error() const;
  /// The bytes behind the header.
  constexpr Bytes payload() const { return bytes_.subspan(IcmpHeader::size); }
  /// The whole message.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit IcmpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
