#pragma once
/// The meaning of the kernel's answers for a packet: waiting, lost, or the end of the device. A sink or a
/// port may handle a few errors first (EINVAL of a super-packet, ICMP errors of a socket).

#include <cstdint>
#include <system_error>

#include "tunport/base/drop_reason.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// The fate of a packet that the kernel did not take.
struct Fate {
  enum Kind : std::uint8_t {
    wait,  ///< the kernel may take the packet later
    lost,  ///< the kernel never takes the packet
    gone,  ///< the kernel takes no packet any more: the device is gone
  };
  Kind kind = lost;
  DropReason reason{};   ///< the reason of the drop, unless `wait`
  std::error_code code;  ///< the error for a program
};

/// The fate of a packet after a read or a write that failed with `error`, a positive errno.
Fate fate_of(int error);

/// The error that tells a program the reason of a refusal.
std::error_code error_of(DropReason reason);
/// The error of a refusal: the errno of the kernel if the kernel refused.
std::error_code error_of(const WriteResult& refused);
/// True if a socket call may end with `error` because of an ICMP error to an earlier datagram (ip(7),
/// IP_RECVERR): then the next call tells its own outcome.
bool is_icmp_error(int error);

}  // namespace tunport
