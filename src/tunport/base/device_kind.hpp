#pragma once
/// The two kinds of device.

#include <cstdint>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// The kind of a device.
enum class DeviceKind : std::uint8_t {
  tun,  ///< carries IP packets
  tap,  ///< carries Ethernet frames
};
/// The name of the kind: "tun" or "tap".
std::string_view to_string(DeviceKind kind);

}  // namespace tunport
