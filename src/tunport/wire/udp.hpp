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
/// The checksum covers a pseudo-header, the header, and the payload. 0 says that there is none, which IPv4
/// allows and IPv6 does not; a checksum that comes out as 0 is sent as 0xffff, its other form.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A UDP header, to be written.
struct UdpHeader {
  static constexpr std::size_t size = 8;
  // Where the fields are that are patched one by one.
  static constexpr std::size_t length_offset = 4;
  static constexpr std::size_t checksum_offset = 6;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;

  /// Writes the header with its length and checksum. `payload` is what will follow, at most 65527 bytes; it
  /// may lie there already. Both addresses are of one family. Precondition: `out.size() >= size`.
  void emit(MutableBytes out, Bytes payload, const IpAddress& source, const IpAddress& destination) const;
};

/// A UDP datagram that was checked. Borrows the bytes.
class UdpView {
 public:
  /// The datagram at the start of `bytes`, an IP payload, between these addresses (of one family). Else
  /// nothing, and `why` is the first of `udp_short`, `udp_bad_length`, `udp_bad_checksum`.
  static std::optional<UdpView> checked(Bytes bytes, const IpAddress& source, const IpAddress& destination,
                                        DropReason& why);

  /// The same without a look at the checksum: somebody else has verified it, or has yet to fill it in.
  static std::optional<UdpView> trusted(Bytes bytes, DropReason& why);

  constexpr std::uint16_t source_port() const { return load_be16(bytes_, 0); }
  constexpr std::uint16_t destination_port() const { return load_be16(bytes_, 2); }
  /// Of header and payload.
  constexpr std::size_t length() const { return bytes_.size(); }
  /// False if the sender computed none: nothing was verified then.
  constexpr bool has_checksum() const { return load_be16(bytes_, 6) != 0; }
  /// From the header to the end by its length.
  constexpr Bytes payload() const { return bytes_.subspan(UdpHeader::size); }
  /// The datagram, without what lies behind its length.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit UdpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
