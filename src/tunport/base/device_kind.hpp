#pragma once
/// The two kinds of device.

#include <cstdint>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// What a device carries.
enum class DeviceKind : std::uint8_t {
  tun,  ///< carries IP packets
  tap,  ///< carries Ethernet frames
};
std::string_view to_string(DeviceKind kind);

}  // namespace tunport
