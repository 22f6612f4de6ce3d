#pragma once
/// IPv4 (RFC 791 3.1; DSCP: RFC 2474; ECN: RFC 3168).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |Version|  IHL  |    DSCP   |ECN|         Total length          |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |        Identification         |0|D|M|     Fragment offset     |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |  Time to live |    Protocol   |        Header checksum        |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                        Source address                         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                      Destination address                      |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |              Options (IHL - 5 words), then payload
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// IP protocol numbers (IANA, "Assigned Internet Protocol Numbers").
namespace ip_protocol {
inline constexpr std::uint8_t icmp = 1;
inline constexpr std::uint8_t tcp = 6;
inline constexpr std::uint8_t udp = 17;
}  // namespace ip_protocol

/// An IPv4 header for writing.
struct Ipv4Header {
  static constexpr std::size_t size = 20;                  ///< without options
  static constexpr std::size_t max_size = 60;              ///< with the most options
  static constexpr std::size_t max_total_length = 0xffff;  ///< of the packet

  std::uint8_t tos = 0;               ///< DSCP and ECN
  std::uint16_t identification = 0;   ///< the same in all fragments of a datagram
  bool dont_fragment = false;         ///< DF: no router may fragment
  bool more_fragments = false;        ///< MF: a fragment other than the last
  std::uint16_t fragment_offset = 0;  ///< in bytes, a multiple of 8
  std::uint8_t ttl = 64;              ///< the hops left
  std::uint8_t protocol = 0;          ///< protocol of the payload, of `ip_protocol`
  Ipv4Address source{};               ///< address of the sender
  Ipv4Address destination{};          ///< address of the receiver
  Bytes options{};                    ///< borrowed; a multiple of 4 bytes, at most 40
  std::uint16_t payload_length = 0;   ///< bytes behind the header: at most 65535 less `header_length()`

  /// Bytes of the header: `size`, and the options.
  constexpr std::size_t header_length() const { return size + options.size(); }
  /// Writes the header with the checksum. Precondition: `out.size() >= header_length()`.
  void emit(MutableBytes out) const;
};

/// A checked IPv4 packet. Borrows the bytes.
class Ipv4View {
 public:
  /// The IPv4 packet at the start of `bytes`, padding may follow. Else nothing, and `why` is the first of
  /// `ip_short`, `ip_bad_version`, `ip_bad_header_length`, `ip_bad_total_length`, `ip_bad_checksum`.
  static std::optional<Ipv4View> checked(Bytes bytes, DropReason& why);

  /// Bytes of the header with its options: 20 to 60.
  constexpr std::size_t header_length() const { return (load_u8(bytes_, 0) & 0xfU) * 4; }
  /// DSCP and ECN.
  constexpr std::uint8_t tos() const { return load_u8(bytes_, 1); }
  /// The differentiated services code point, 6 bits.
  constexpr std::uint8_t dscp() const { return static_cast<std::uint8_t>(tos() >> 2); }
  /// The explicit congestion notification, 2 bits.
  constexpr std::uint8_t ecn() const { return tos() & 3; }
  /// Bytes of header and payload.
  constexpr std::size_t total_length() const { return bytes_.size(); }
  /// The identification of the datagram, the same in its fragments.
  constexpr std::uint16_t identification() const { return load_be16(bytes_, 4); }
  /// True if DF is set: no router may fragment the datagram.
  constexpr bool dont_fragment() const { return (load_u8(bytes_, 6) & 0x40) != 0; }
  /// True if MF is set: a fragment other than the last.
  constexpr bool more_fragments() const { return (load_u8(bytes_, 6) & 0x20) != 0; }
  /// The offset of the fragment in the datagram's payload, in bytes.
  constexpr std::size_t fragment_offset() const { return (load_be16(bytes_, 6) & 0x1fffU) * 8; }
  /// True for a part of a datagram: the first part has MF, the last an offset, a middle part both.
  constexpr bool is_fragment() const { return (load_be16(bytes_, 6) & 0x3fff) != 0; }
  /// The hops left.
  constexpr std::uint8_t ttl() const { return load_u8(bytes_, 8); }
  /// The protocol of the payload, of `ip_protocol`.
  constexpr std::uint8_t protocol() const { return load_u8(bytes_, 9); }
  /// The address of the sender.
  constexpr Ipv4Address source() const { return Ipv4Address::load(bytes_, 12); }
  /// The address of the receiver, or of the next station of a source route.
  constexpr Ipv4Address destination() const { return Ipv4Address::load(bytes_, 16); }
  /// The options, padding included. Their contents are not checked.
  constexpr Bytes options() const {
    return bytes_.subspan(Ipv4Header::size, header_length() - Ipv4Header::size);
  }
  /// The bytes behind the header, up to the end by the total length.
  constexpr Bytes payload() const { return bytes_.subspan(header_length()); }
  /// The packet, up to the end by the total length.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit Ipv4View(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
