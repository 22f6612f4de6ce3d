#pragma once
/// UDP (RFC 768; over IPv6: RFC 8200 8.1).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |          Source port          |       Destination port        |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |            Length             |           Checksum            |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |   Payload (length - 8)
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -
///
/// The checksum covers a pseudo-header, the header, and the payload. 0 stands for no checksum: IPv4 allows
/// that, IPv6 does not. A computed checksum of 0 is sent as 0xffff, the second form of zero.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A UDP header for writing.
struct UdpHeader {
  static constexpr std::size_t size = 8;             ///< bytes
  static constexpr std::size_t length_offset = 4;    ///< offset of the length in the header, in bytes
  static constexpr std::size_t checksum_offset = 6;  ///< offset of the checksum in the header, in bytes

  std::uint16_t source_port = 0;       ///< port of the sender, in host order
  std::uint16_t destination_port = 0;  ///< port of the receiver, in host order

  /// Writes the header with length and checksum. `payload`, at most 65527 bytes, follows the header, and may
  /// lie there already. Both addresses are of the same family. Precondition: `out.size() >= size`.
  void emit(MutableBytes out, Bytes payload, const IpAddress& source, const IpAddress& destination) const;
};

/// A checked UDP datagram. Borrows the bytes.
class UdpView {
 public:
  /// The datagram at the start of `bytes`, an IP payload, between two addresses of the same family. Else
  /// nothing, and `why` is the first of `udp_short`, `udp_bad_length`, `udp_bad_checksum`.
  static std::optional<UdpView> checked(Bytes bytes, const IpAddress& source, const IpAddress& destination,
                                        DropReason& why);

  /// As `checked`, without a look at the checksum: the sender's kernel has verified it, or left it to fill.
  static std::optional<UdpView> trusted(Bytes bytes, DropReason& why);

  /// The port of the sender.
  constexpr std::uint16_t source_port() const { return load_be16(bytes_, 0); }
  /// The port of the receiver.
  constexpr std::uint16_t destination_port() const { return load_be16(bytes_, 2); }
  /// Bytes of header and payload.
  constexpr std::size_t length() const { return bytes_.size(); }
  /// False if the sender computed no checksum, so that nothing was verified.
  constexpr bool has_checksum() const { return load_be16(bytes_, 6) != 0; }
  /// The bytes behind the header, up to the end by the header's length.
  constexpr Bytes payload() const { return bytes_.subspan(UdpHeader::size); }
  /// The datagram, up to the end by the header's length.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit UdpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
