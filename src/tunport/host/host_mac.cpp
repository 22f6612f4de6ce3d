#include <array>
#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/host/host_mac_internal.hpp"

namespace tunport {

MacAddress derive_mac(const IpAddress& address, std::string_view interface, const MacAddress& taken) {
  // FNV-1a of 64 bits (draft-eastlake-fnv). A change here changes the MAC addresses of all hosts.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](std::uint8_t octet) { hash = (hash ^ octet) * 0x100000001b3; };
  std::array<std::byte, Ipv6Address::size> octets;
  if (address.is_v4())
    address.v4().store(octets, 0);
  else
    address.v6().store(octets, 0);
  for (const std::byte octet : Bytes{octets}.first(address.bits() / 8))
    add(std::to_integer<std::uint8_t>(octet));
  for (const char c : interface) add(static_cast<std::uint8_t>(c));
  hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;  // the end of MurmurHash3: each bit depends on all input
  hash ^= hash >> 33;
  std::array<std::uint8_t, MacAddress::size> mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(hash >> 8 * i);
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xfcU) | 0x02U);  // IEEE 802: local, and no group
  if (MacAddress{mac} == taken) mac.back() ^= 1;
  return MacAddress{mac};
}

}  // namespace tunport
