#pragma once
/// IPv6 (RFC 8200 3; traffic class: RFC 2474 and RFC 3168) and its extension headers (section 4).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |Version| Traffic class |              Flow label               |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |        Payload length         |  Next header  |   Hop limit   |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                  Source address (16 bytes)                    |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                Destination address (16 bytes)                 |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   | Next header   | Length / 8 - 1| an extension header's own
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -
///
/// The payload length counts the extension headers. Jumbograms (RFC 2675) are not supported: a payload length
/// of 0 is an empty payload.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// Extension headers among the IP protocol numbers (IANA, "IPv6 Extension Header Types").
namespace ip_protocol {
inline constexpr std::uint8_t hop_by_hop = 0;
inline constexpr std::uint8_t routing = 43;
inline constexpr std::uint8_t ipv6_fragment = 44;
inline constexpr std::uint8_t destination_options = 60;
}  // namespace ip_protocol

/// The least MTU of a link for IPv6, in bytes (RFC 8200 5).
inline constexpr unsigned least_ipv6_mtu = 1280;

/// An IPv6 header for writing.
struct Ipv6Header {
  static constexpr std::size_t size = 40;  ///< bytes

  std::uint8_t traffic_class = 0;  ///< DSCP and ECN
  std::uint32_t flow_label = 0;    ///< 20 bits
  std::uint8_t next_header = 0;
  std::uint8_t hop_limit = 64;       ///< the hops left
  Ipv6Address source{};              ///< address of the sender
  Ipv6Address destination{};         ///< address of the receiver
  std::uint16_t payload_length = 0;  ///< bytes behind the header, extension headers included

  /// Writes the header. Precondition: `out.size() >= size`.
  void emit(MutableBytes out) const;
};

/// The protocol behind the extension headers of an IPv6 packet.
struct Ipv6Upper {
  std::uint8_t protocol = 0;  ///< of `ip_protocol`
  std::size_t offset = 0;     ///< offset from the IPv6 header, in bytes

  bool operator==(const Ipv6Upper&) const = default;
};

/// A checked IPv6 packet. Borrows the bytes.
class Ipv6View {
 public:
  /// The IPv6 packet at the start of `bytes`, padding may follow. Else nothing, and `why` is the first of
  /// `ip_short`, `ip_bad_version`, `ip_bad_total_length`.
  static std::optional<Ipv6View> checked(Bytes bytes, DropReason& why);

  /// DSCP and ECN.
  constexpr std::uint8_t traffic_class() const {
    return static_cast<std::uint8_t>(load_be16(bytes_, 0) >> 4);
  }
  /// The flow label, 20 bits.
  constexpr std::uint32_t flow_label() const { return load_be32(bytes_, 0) & 0xfffffU; }
  /// The protocol number of the first header behind the fixed one.
  constexpr std::uint8_t next_header() const { return load_u8(bytes_, 6); }
  /// The hops left.
  constexpr std::uint8_t hop_limit() const { return load_u8(bytes_, 7); }
  /// The address of the sender.
  constexpr Ipv6Address source() const { return Ipv6Address::load(bytes_, 8); }
  /// The address of the receiver, or of the next station of a route.
  constexpr Ipv6Address destination() const { return Ipv6Address::load(bytes_, 24); }
  /// The protocol behind hop-by-hop, routing and destination options. Nothing if the chain leaves the packet,
  /// or has a routing header with segments left: the destination is not the final destination then, and each
  /// routing type keeps the final destination elsewhere. A fragment header is not skipped, but found; so are
  /// hop-by-hop options behind another extension header (RFC 8200 4.1).
  std::optional<Ipv6Upper> upper() const { return find_upper(false); }
  /// The same, also behind a routing header with segments left.
  std::optional<Ipv6Upper> upper_en_route() const { return find_upper(true); }
  /// The bytes behind the fixed header, up to the end by the payload length.
  constexpr Bytes payload() const { return bytes_.subspan(Ipv6Header::size); }
  /// The packet, up to the end by the payload length.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit Ipv6View(Bytes bytes) : bytes_{bytes} {}
  std::optional<Ipv6Upper> find_upper(bool en_route) const;

  Bytes bytes_;
};

}  // namespace tunport
