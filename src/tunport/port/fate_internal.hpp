#pragma once
/// What the kernel's answers mean for a packet: the one place that looks at an errno of a read or a write.

#include <cstdint>
#include <system_error>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// What becomes of a packet that the kernel did not take.
struct Fate {
  enum Kind : std::uint8_t {
    wait,  ///< the same packet may be taken later
    lost,  ///< this packet is not taken, ever
    gone,  ///< no packet is taken any more: the device is gone
  };
  Kind kind = lost;
  DropReason reason{};   ///< why the packet is dropped, unless it waits
  std::error_code code;  ///< for a program that asked to be told
};

/// The fate of a packet after a read or a write that failed with `error`, a positive errno.
Fate fate_of(int error);

/// The error that tells a program why its write was refused.
std::error_code error_of(DropReason reason);

}  // namespace tunport
