#pragma once
/// Flags of TUNSETIFF in the kernel's bits: IFF_* of linux/if_tun.h, whose version in linux-libc-dev 6.1 does
/// not have them all.

namespace tunport::tun_flag {

inline constexpr int no_carrier = 0x0040;    // IFF_NO_CARRIER, Linux 6.1
inline constexpr int backpressure = 0x0080;  // IFF_BACKPRESSURE, Linux 7.3

}  // namespace tunport::tun_flag
