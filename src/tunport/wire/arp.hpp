#pragma once
/// ARP for IPv4 over Ethernet (RFC 826).
///
///    0                   1                   2                   3
///    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |      Hardware type: 1         |     Protocol type: 0x0800     |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |   6 (length)  |   4 (length)  |           Operation           |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                   Sender hardware address                     |
///   +                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                               |    Sender protocol address    |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |   Sender protocol address     |    Target hardware address    |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
///   |                                                               |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
///   |                   Target protocol address                     |
///   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

#include <cstdint>
#include <optional>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// ARP operations (IANA, "ARP Parameters").
namespace arp_operation {
inline constexpr std::uint16_t request = 1;  ///< asks for the station of an address
inline constexpr std::uint16_t reply = 2;    ///< tells the station of an address
}  // namespace arp_operation

/// An ARP packet for writing.
struct ArpHeader {
  static constexpr std::size_t size = 28;  ///< bytes

  std::uint16_t operation = arp_operation::request;  ///< of `arp_operation`
  MacAddress sender_mac{};                           ///< station of the sender
  Ipv4Address sender_ip{};                           ///< address of the sender; 0.0.0.0 in a probe
  MacAddress target_mac{};                           ///< station of the target; zero in a request
  Ipv4Address target_ip{};                           ///< address of the target

  /// Writes the packet. Precondition: `out.size() >= size`.
  void emit(MutableBytes out) const;
};

/// A checked ARP packet. Borrows the bytes.
class ArpView {
 public:
  /// The ARP packet at the start of `bytes`, padding may follow; else nothing, and `why` is `arp_malformed`:
  /// too short, or not for IPv4 over Ethernet.
  static std::optional<ArpView> checked(Bytes bytes, DropReason& why);

  /// The operation, of `arp_operation`.
  constexpr std::uint16_t operation() const { return load_be16(bytes_, 6); }
  /// The station of the sender.
  constexpr MacAddress sender_mac() const { return MacAddress::load(bytes_, 8); }
  /// The address of the sender; 0.0.0.0 in a probe.
  constexpr Ipv4Address sender_ip() const { return Ipv4Address::load(bytes_, 14); }
  /// The station of the target; without meaning in a request.
  constexpr MacAddress target_mac() const { return MacAddress::load(bytes_, 18); }
  /// The address of the target: the wanted address in a request.
  constexpr Ipv4Address target_ip() const { return Ipv4Address::load(bytes_, 24); }
  /// The packet without padding.
  constexpr Bytes bytes() const { return bytes_; }

 private:
  constexpr explicit ArpView(Bytes bytes) : bytes_{bytes} {}

  Bytes bytes_;
};

}  // namespace tunport
