#pragma once
/// Ethernet II (RFC 894, IEEE 802.3 3.2) with up to two VLAN tags (IEEE 802.1Q 9.3: a customer's tag, or a
/// service tag before it).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                          Destination                          |
///   +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                               |                               |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
///   |                            Source                             |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |     TPID (each tag, if any)   | PCP |D|         VID           |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |           EtherType           |  payload, then padding to 60
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ - - -
///
/// Ethernet II has no length: padding is a part of the payload, and the next header cuts the padding off.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// EtherTypes (IANA, "IEEE 802 Numbers"). Numbers below 0x0600 are lengths of 802.3 frames.
namespace ethertype {
inline constexpr std::uint16_t ipv4 = 0x0800;          ///< RFC 894
inline constexpr std::uint16_t arp = 0x0806;           ///< RFC 826
inline constexpr std::uint16_t vlan = 0x8100;          ///< 802.1Q: a customer's tag follows
inline constexpr std::uint16_t ipv6 = 0x86dd;          ///< RFC 2464
inline constexpr std::uint16_t service_vlan = 0x88a8;  ///< 802.1ad: a service tag follows
}  // namespace ethertype

/// A VLAN tag.
struct VlanTag {
  static constexpr std::size_t size = 4;  ///< bytes

  std::uint16_t tpid = ethertype::vlan;  ///< `ethertype::vlan` or `ethertype::service_vlan`
  std::uint8_t priority = 0;             ///< PCP, 0 to 7
  bool drop_eligible = false;            ///< DEI
  std::uint16_t vid = 0;                 ///< 0 to 4095; 0 is no VLAN, a priority only

  /// Writes the tag. Precondition: `out.size() >= size`.
  constexpr void emit(MutableBytes out) const {
    store_be16(out, 0, tpid);
    store_be16(out, 2,
               static_cast<std::uint16_t>((priority & 7) << 13 | drop_eligible << 12 | (vid & 0xfff)));
  }
  constexpr bool operator==(const VlanTag&) const = default;
};

/// Bytes of an Ethernet header without tags.
inline constexpr std::size_t ethernet_header_size = 14;

/// The length of the Ethernet header of `frame` with at most `most_tags` VLAN tags; the EtherType is its last
/// two bytes. 0 if the frame ends before.
constexpr std::size_t ethernet_header_length(Bytes frame, std::size_t most_tags) {
  std::size_t length = ethernet_header_size;
  for (; length <= frame.size(); length += VlanTag::size) {
    const std::uint16_t type = load_be16(frame, length - 2);
    const bool is_tag = type == ethertype::vlan || type == ethertype::service_vlan;
    if (!is_tag || most_tags-- == 0) return length;
  }
  return 0;
}

/// A checked Ethernet frame. Borrows the bytes.
class EthernetView {
 public:
  /// The frame in `bytes`; else nothing, and `why` is `ethernet_short`.
  static std::optional<EthernetView> checked(Bytes bytes, DropReason& why);

  /// The station or group of the receiver.
  constexpr MacAddress destination() const { return MacAddress::load(bytes_, 0); }
  /// The station of the sender.
  constexpr MacAddress source() const { return MacAddress::load(bytes_, 6); }
  /// The number of VLAN tags: 0 to 2. The TPID of a third tag is the `ethertype()`.
  constexpr std::size_t tag_count() const { return (header_length_ - ethernet_header_size) / VlanTag::size; }
  /// A VLAN tag; 0 is the outermost. Precondition: `index < tag_count()`.
  VlanTag tag(std::size_t index) const;
  /// The type of the payload, behind the tags.
  constexpr std::uint16_t ethertype() const { return load_be16(bytes_, header_length_ - 2); }
  /// Bytes of the header: 14, and 4 for each tag.
  constexpr std::size_t header_length() const { return header_length_; }
  /// The bytes behind the header, padding included.
  constexpr Bytes payload() const { return bytes_.subspan(header_length_); }
  /// The whole frame.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr EthernetView(Bytes bytes, std::size_t header_length)
      : bytes_{bytes}, header_length_{header_length} {}

  Bytes bytes_;
  std::size_t header_length_;
};

/// An Ethernet header without tags, for writing.
struct EthernetHeader {
  static constexpr std::size_t size = ethernet_header_size;  ///< bytes

  MacAddress destination{};     ///< station or group of the receiver
  MacAddress source{};          ///< station of the sender
  std::uint16_t ethertype = 0;  ///< type of the payload

  /// Writes the header. Precondition: `out.size() >= size`.
  constexpr void emit(MutableBytes out) const {
    destination.store(out, 0);
    source.store(out, 6);
    store_be16(out, 12, ethertype);
  }
};

}  // namespace tunport
