#pragma once
/// TCP (RFC 9293 3.1; CWR and ECE: RFC 3168 6.1).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |          Source port          |       Destination port        |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                        Sequence number                        |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                    Acknowledgment number                      |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   | Offset| Rsrvd |C E U A P R S F|            Window             |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |           Checksum            |        Urgent pointer         |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |              Options (offset - 5 words), then payload
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -
///
/// The checksum covers a pseudo-header, the header, and the payload.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The flags, as bits of their byte.
namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01;
inline constexpr std::uint8_t syn = 0x02;
inline constexpr std::uint8_t rst = 0x04;
inline constexpr std::uint8_t psh = 0x08;
inline constexpr std::uint8_t ack = 0x10;
inline constexpr std::uint8_t urg = 0x20;
inline constexpr std::uint8_t ece = 0x40;
inline constexpr std::uint8_t cwr = 0x80;
}  // namespace tcp_flag

/// A TCP header for writing.
struct TcpHeader {
  static constexpr std::size_t size = 20;             ///< without options
  static constexpr std::size_t sequence_offset = 4;   ///< offset of the sequence number, in bytes
  static constexpr std::size_t flags_offset = 13;     ///< offset of the flags, in bytes
  static constexpr std::size_t checksum_offset = 16;  ///< offset of the checksum, in bytes

  std::uint16_t source_port = 0;       ///< port of the sender
  std::uint16_t destination_port = 0;  ///< port of the receiver
  std::uint32_t sequence = 0;          ///< number of the first payload byte, or of the SYN
  std::uint32_t acknowledgment = 0;    ///< number of the next expected byte
  std::uint8_t flags = tcp_flag::ack;  ///< of `tcp_flag`
  std::uint16_t window = 0;            ///< bytes, not scaled
  std::uint16_t urgent_pointer = 0;    ///< end of urgent data, from `sequence` on
  Bytes options{};                     ///< borrowed; a multiple of 4 bytes, at most 40

  /// Bytes of the header: `size`, and the options.
  constexpr std::size_t header_length() const { return size + options.size(); }
  /// Writes the header with the checksum. `payload` follows the header, and may lie there already. Both
  /// addresses are of the same family. Precondition: `out.size() >= header_length()`.
  void emit(MutableBytes out, Bytes payload, const IpAddress& source, const IpAddress& destination) const;
};

/// A checked TCP segment. Borrows the bytes.
class TcpView {
 public:
  /// The segment in `bytes`, an IP payload, between two addresses of the same family. Else nothing, and `why`
  /// is the first of `tcp_short`, `tcp_bad_checksum`.
  static std::optional<TcpView> checked(Bytes bytes, const IpAddress& source, const IpAddress& destination,
                                        DropReason& why);

  /// As `checked`, without a look at the checksum: the sender's kernel has verified it, or left it to fill.
  static std::optional<TcpView> trusted(Bytes bytes, DropReason& why);

  /// The port of the sender.
  constexpr std::uint16_t source_port() const { return load_be16(bytes_, 0); }
  /// The port of the receiver.
  constexpr std::uint16_t destination_port() const { return load_be16(bytes_, 2); }
  /// The number of the first payload byte, or of the SYN.
  constexpr std::uint32_t sequence() const { return load_be32(bytes_, TcpHeader::sequence_offset); }
  /// The number of the next byte that the sender expects.
  constexpr std::uint32_t acknowledgment() const { return load_be32(bytes_, 8); }
  /// Bytes of the header with its options: 20 to 60.
  constexpr std::size_t header_length() const { return (load_u8(bytes_, 12) >> 4) * std::size_t{4}; }
  /// The flags, of `tcp_flag`.
  constexpr std::uint8_t flags() const { return load_u8(bytes_, TcpHeader::flags_offset); }
  /// The window, not scaled.
  constexpr std::uint16_t window() const { return load_be16(bytes_, 14); }
  /// The end of urgent data, from `sequence()` on.
  constexpr std::uint16_t urgent_pointer() const { return load_be16(bytes_, 18); }
  /// The options, padding included. Their contents are not checked.
  constexpr Bytes options() const {
    return bytes_.subspan(TcpHeader::size, header_length() - TcpHeader::size);
  }
  /// The bytes behind the header.
  constexpr Bytes payload() const { return bytes_.subspan(header_length()); }
  /// The numbers that the segment takes of the sequence: one for each payload byte, for SYN, and for FIN
  /// (SEG.LEN of RFC 9293 3.3.1).
  constexpr std::uint32_t sequence_length() const {
    const std::uint32_t syn = (flags() & tcp_flag::syn) != 0 ? 1 : 0;
    const std::uint32_t fin = (flags() & tcp_flag::fin) != 0 ? 1 : 0;
    return static_cast<std::uint32_t>(payload().size()) + syn + fin;
  }
  /// The whole segment.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit TcpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
