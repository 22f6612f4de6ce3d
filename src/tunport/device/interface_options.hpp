#pragma once
/// The options of an interface: the kernel's side of a device.

#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/device/link_system.hpp"

namespace tunport {

/// The limits of an MTU in drivers/net/tun.c: ETH_MIN_MTU, and 65535 less the Ethernet header on TAP.
inline constexpr unsigned least_mtu = 68;
constexpr unsigned most_mtu(DeviceKind kind) { return kind == DeviceKind::tap ? 65'521 : 65'535; }

/// What an interface is to be. What is not asked for is not touched.
struct InterfaceOptions {
  /// Addresses with their prefix lengths. IPv6 addresses are usable at once, without a search for duplicates;
  /// IPv4 addresses have the broadcast address of their prefix.
  std::vector<IpPrefix> addresses = {};
  std::optional<unsigned> mtu = {};              ///< bytes of IP, without the Ethernet header
  std::optional<MacAddress> mac = {};            ///< of a TAP
  std::optional<unsigned> tx_queue_length = {};  ///< packets that wait for a reader before the kernel drops
  bool up = false;                               ///< set up; routes need that
  std::vector<Route> routes = {};                ///< through this interface, whatever `Route::interface` says

  bool operator==(const InterfaceOptions&) const = default;
};
/// True if anything is asked for.
inline bool asks(const InterfaceOptions& options) { return options != InterfaceOptions{}; }

/// Why an interface of that kind cannot be so, as far as that is known without asking the kernel: no error if
/// nothing is wrong. `part` then names the wrong part: "address 10.0.0.0/24".
std::error_code check(const InterfaceOptions& options, DeviceKind kind, std::string& part);

}  // namespace tunport
