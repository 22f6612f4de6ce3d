#pragma once
/// The offload mask of a device (TUNSETOFFLOAD) in the kernel's bits: TUN_F_* of linux/if_tun.h, whose
/// version in linux-libc-dev 6.1 does not have them all.

#include "tunport/offload/offload.hpp"

namespace tunport::tun_offload {

inline constexpr unsigned long checksum = 0x01;  // TUN_F_CSUM
inline constexpr unsigned long tso4 = 0x02;      // TUN_F_TSO4
inline constexpr unsigned long tso6 = 0x04;      // TUN_F_TSO6
inline constexpr unsigned long ecn = 0x08;       // TUN_F_TSO_ECN
inline constexpr unsigned long ufo = 0x10;   // TUN_F_UFO: taken by every kernel, without effect since 4.14
inline constexpr unsigned long uso4 = 0x20;  // TUN_F_USO4
inline constexpr unsigned long uso6 = 0x40;  // TUN_F_USO6

constexpr unsigned long to_mask(const OffloadFeatures& set) {
  return (set.checksum ? checksum : 0) | (set.tso4 ? tso4 : 0) | (set.tso6 ? tso6 : 0) | (set.ecn ? ecn : 0) |
         (set.uso ? uso4 | uso6 : 0);
}

constexpr OffloadFeatures from_mask(unsigned long mask) {
  return {.checksum = (mask & checksum) != 0,
          .tso4 = (mask & tso4) != 0,
          .tso6 = (mask & tso6) != 0,
          .ecn = (mask & ecn) != 0,
          .uso = (mask & uso4) != 0 && (mask & uso6) != 0};
}

/// The greatest part of `wanted` that the kernel knows as a mask: set_offload() in drivers/net/tun.c refuses
/// anything without the checksum, and ECN without TSO.
constexpr OffloadFeatures consistent(OffloadFeatures wanted) {
  if (!wanted.checksum) return OffloadFeatures::none();
  wanted.ecn = wanted.ecn && (wanted.tso4 || wanted.tso6);
  return wanted;
}

}  // namespace tunport::tun_offload
