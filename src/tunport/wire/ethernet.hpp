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
/// Ethernet II says nowhere where the payload ends: the padding is still in it, and the next header cuts it
/// off.

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// EtherTypes (IANA, "IEEE 802 Numbers"). Numbers below 0x0600 are the length of an 802.3 frame instead.
namespace ethertype {
inline constexpr std::uint16_t ipv4 = 0x0800;
inline constexpr std::uint16_t arp = 0x0806;
inline constexpr std::uint16_t vlan = 0x8100;  ///< 802.1Q: a customer's tag follows
inline constexpr std::uint16_t ipv6 = 0x86dd;
inline constexpr std::uint16_t service_vlan = 0x88a8;  ///< 802.1ad: a service tag follows
}  // namespace ethertype

/// A VLAN tag.
struct VlanTag {
  static constexpr std::size_t size = 4;

  std::uint16_t tpid = ethertype::vlan;
  std::uint8_t priority = 0;   ///< PCP, 0 to 7
  bool drop_eligible = false;  ///< DEI
  std::uint16_t vid = 0;       ///< 0 to 4095; 0 is no VLAN, a priority only

  /// Writes the tag. Precondition: `out.size() >= size`.
  constexpr void emit(MutableBytes out) const {
    store_be16(out, 0, tpid);
    store_be16(out, 2,
               static_cast<std::uint16_t>((priority & 7) << 13 | drop_eligible << 12 | (vid & 0xfff)));
  }
  constexpr bool operator==(const VlanTag&) const = default;
};

/// An Ethernet frame that was checked. Borrows the bytes.
class EthernetView {
 public:
  /// The frame in `bytes`; else nothing, and `why` is `ethernet_short`.
  static std::optional<EthernetView> checked(Bytes bytes, DropReason& why);

  constexpr MacAddress destination() const { return MacAddress::load(bytes_, 0); }
  constexpr MacAddress source() const { return MacAddress::load(bytes_, 6); }
  /// How many VLAN tags there are: 0 to 2. A third is not looked for; `ethertype()` is its TPID.
  constexpr std::size_t tag_count() const { return (header_length_ - 14U) / VlanTag::size; }
  /// A tag, the outermost being 0. Precondition: `index < tag_count()`.
  VlanTag tag(std::size_t index) const;
  /// What the payload is; behind the tags, if there are any.
  constexpr std::uint16_t ethertype() const { return load_be16(bytes_, header_length_ - 2); }
  /// 14, and 4 for each tag.
  constexpr std::size_t header_length() const { return header_length_; }
  /// All behind the header, padding included.
  constexpr Bytes payload() const { return bytes_.subspan(header_length_); }
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr EthernetView(Bytes bytes, std::size_t header_length)
      : bytes_{bytes}, header_length_{header_length} {}

  Bytes bytes_;
  std::size_t header_length_;
};

/// An Ethernet header without tags, to be written.
struct EthernetHeader {
  static constexpr std::size_t size = 14;

  MacAddress destination{};
  MacAddress source{};
  std::uint16_t ethertype = 0;

  /// Writes the header. Precondition: `out.size() >= size`.
  constexpr void emit(MutableBytes out) const {
    destination.store(out, 0);
    source.store(out, 6);
    store_be16(out, 12, ethertype);
  }
};

}  // namespace tunport
