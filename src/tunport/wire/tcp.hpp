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
/// The checksum covers a pseudo-header, the header, and the payload. Whether it is right is not looked at
/// here: who has to know says so (offload/checksum_state.hpp).

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The flags, as they lie in their byte.
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

/// A TCP header, to be written.
struct TcpHeader {
  static constexpr std::size_t size = 20;  ///< without options
  // Where the fields are that are looked at, or patched, one by one.
  static constexpr std::size_t sequence_offset = 4;
  static constexpr std::size_t flags_offset = 13;
  static constexpr std::size_t checksum_offset = 16;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint8_t flags = tcp_flag::ack;
  std::uint16_t window = 0;
  std::uint16_t urgent_pointer = 0;
  Bytes options{};  ///< borrowed; a multiple of 4 bytes, at most 40

  /// Bytes that the header takes: `size`, and the options.
  constexpr std::size_t header_length() const { return size + options.size(); }
  /// Writes the header with its checksum. `payload` is what will follow; it may lie there already. Both
  /// addresses are of one family. Precondition: `out.size() >= header_length()`.
  void emit(MutableBytes out, Bytes payload, const IpAddress& source, const IpAddress& destination) const;
};

/// A TCP segment whose lengths were checked. Borrows the bytes.
class TcpView {
 public:
  /// The segment that `bytes`, an IP payload, is. Nothing if there is no whole header.
  static std::optional<TcpView> checked(Bytes bytes);

  constexpr std::uint16_t source_port() const { return load_be16(bytes_, 0); }
  constexpr std::uint16_t destination_port() const { return load_be16(bytes_, 2); }
  constexpr std::uint32_t sequence() const { return load_be32(bytes_, TcpHeader::sequence_offset); }
  constexpr std::uint32_t acknowledgment() const { return load_be32(bytes_, 8); }
  /// In bytes: 20 to 60.
  constexpr std::size_t header_length() const { return (load_u8(bytes_, 12) >> 4) * std::size_t{4}; }
  /// Of `tcp_flag`.
  constexpr std::uint8_t flags() const { return load_u8(bytes_, TcpHeader::flags_offset); }
  constexpr std::uint16_t window() const { return load_be16(bytes_, 14); }
  constexpr std::uint16_t urgent_pointer() const { return load_be16(bytes_, 18); }
  /// The options as they are, padding included; what is in them is not checked.
  constexpr Bytes options() const {
    return bytes_.subspan(TcpHeader::size, header_length() - TcpHeader::size);
  }
  constexpr Bytes payload() const { return bytes_.subspan(header_length()); }
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit TcpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
