#pragma once
/// An IP packet of either version: the fields that both have.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {

/// The place of a fragment in its datagram.
struct IpFragment {
  std::uint32_t identification = 0;  ///< the same in all fragments of a datagram; 16 bits in IPv4
  std::size_t offset = 0;            ///< offset in the datagram's payload, in bytes; a multiple of 8
  bool more = false;                 ///< a fragment other than the last
  std::uint8_t protocol = 0;         ///< the protocol of the datagram's payload, of `ip_protocol`
};

/// A fault of an IPv6 packet that its receiver tells the sender of: "parameter problem" (RFC 4443 3.4).
struct Ipv6Problem {
  /// The codes.
  enum class Code : std::uint8_t {
    header_field = 0,  ///< an erroneous header field
    next_header = 1,   ///< a next header that the receiver does not know
    option = 2,        ///< an option that the receiver must understand, and does not
  };
  Code code = Code::header_field;
  std::size_t pointer = 0;  ///< the offset of the fault from the IPv6 header, in bytes
  bool is_told_by_groups =
      false;  ///< a packet to a group is answered, too: an option of type 10xxxxxx (RFC 8200 4.2)

  bool operator==(const Ipv6Problem&) const = default;
};

/// A checked IP packet. Borrows the bytes.
class IpView {
 public:
  /// The IP packet at the start of `bytes`, padding may follow. Else nothing, and `why` is a reason of
  /// `Ipv4View::checked` or `Ipv6View::checked`; besides for IPv6 `ip_bad_header_length` for an extension
  /// header that leaves the packet, `ip_source_route` for a routing header with segments left (RFC 8200 4.4),
  /// `ip_bad_option` for an option that the packet's receiver must understand (4.2; tunport understands
  /// padding and the router alert), and `unknown_ip_protocol` for hop-by-hop options that do not follow the
  /// IPv6 header at once (4, 4.1).
  static std::optional<IpView> checked(Bytes bytes, DropReason& why);
  /// The same; `problem` is the fault of a refused packet whose sender is told of the fault, else nothing.
  static std::optional<IpView> checked(Bytes bytes, DropReason& why, std::optional<Ipv6Problem>& problem);
  /// The IPv6 packet at the start of `bytes` by the fixed header alone: the payload begins with the first
  /// extension header. For an answer to a packet that `checked` refuses. Else nothing, as
  /// `Ipv6View::checked`.
  static std::optional<IpView> by_fixed_header(Bytes bytes);

  /// True for IPv4, else IPv6.
  constexpr bool is_v4() const { return !v6_; }
  /// The address of the sender.
  IpAddress source() const {
    if (v6_) return Ipv6Address::load(bytes_, 8);
    return Ipv4Address::load(bytes_, 12);
  }
  /// The address of the receiver.
  IpAddress destination() const {
    if (v6_) return Ipv6Address::load(bytes_, 24);
    return Ipv4Address::load(bytes_, 16);
  }
  /// The protocol of the payload, of `ip_protocol`: for IPv6 behind the extension headers. Hop-by-hop options
  /// behind another header count as a protocol, which nobody serves (RFC 8200 4).
  constexpr std::uint8_t protocol() const { return protocol_; }
  /// DSCP and ECN: the type of service of IPv4, the traffic class of IPv6.
  constexpr std::uint8_t traffic_class() const {
    return v6_ ? static_cast<std::uint8_t>(load_be16(bytes_, 0) >> 4) : load_u8(bytes_, 1);
  }
  /// The differentiated services code point, 6 bits.
  constexpr std::uint8_t dscp() const { return static_cast<std::uint8_t>(traffic_class() >> 2); }
  /// The hops left: the time to live of IPv4, the hop limit of IPv6.
  constexpr std::uint8_t hop_limit() const { return load_u8(bytes_, v6_ ? 7 : 8); }
  /// The options of IPv4, padding included; empty for IPv6.
  constexpr Bytes options() const {
    return v6_ ? Bytes{} : bytes_.subspan(Ipv4Header::size, payload_at_ - Ipv4Header::size);
  }
  /// True for a part of a datagram. A fragment header of IPv6 that stands for a whole datagram is skipped
  /// (RFC 6946).
  constexpr bool is_fragment() const { return fragment_at_ != 0; }
  /// The place of the fragment. Precondition: `is_fragment()`.
  IpFragment fragment() const;
  /// The bytes before the payload, or before the fragment header of IPv6.
  constexpr Bytes header() const { return bytes_.first(v6_ && is_fragment() ? fragment_at_ : payload_at_); }
  /// The offset of the protocol number of the header, in bytes: for IPv6 that of the last extension header.
  constexpr std::size_t protocol_at() const { return protocol_at_; }
  /// The bytes behind the headers, up to the end by the packet's length.
  constexpr Bytes payload() const { return bytes_.subspan(payload_at_); }
  /// The packet, up to the end by its length.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit IpView(Bytes bytes) : bytes_{bytes} {}
  bool skip_extensions(DropReason& why, std::optional<Ipv6Problem>& problem);

  Bytes bytes_;
  std::uint16_t payload_at_ = 0;
  std::uint16_t fragment_at_ = 0;  // of the fields of a fragment; 0 for a whole datagram
  std::uint16_t protocol_at_ = 9;
  std::uint8_t protocol_ = 0;
  bool v6_ = false;
};

}  // namespace tunport
