#include "tunport/base/device_kind.hpp"

namespace tunport {

std::string_view to_string(DeviceKind kind) { return kind == DeviceKind::tun ? "tun" : "tap"; }

}  // namespace tunport
