#pragma once
/// Offload in the fake kernel. The inside of `MemorySystem`.
///
/// Theory. The models are include/linux/virtio_net.h and the kernel's segmentation. The code uses neither the
/// library's virtio header nor the library's segmenter: a separate implementation checks a port's
/// super-packets. Only the headers are found by the library (layout.hpp); the contract suite and test/kernel
/// compare results with the kernel.

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {

/// Differences between kernels.
struct MemoryTraits {
  bool uso = true;  ///< UDP super-packets are known: Linux 6.2 and later
};

/// struct virtio_net_hdr, with numbers in the byte order of the machine.
struct MemoryVirtioHeader {
  static constexpr std::size_t size = 10;

  std::uint8_t flags = 0;
  std::uint8_t type = 0;
  std::uint16_t header_length = 0;
  std::uint16_t segment_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;

  /// Reads a header. Precondition: at least `size` bytes.
  static MemoryVirtioHeader load(Bytes bytes, std::endian order);
  /// Writes the header. Precondition: at least `size` bytes.
  void store(MutableBytes bytes, std::endian order) const;

  /// The kernel's header for a packet sent to a reader.
  static MemoryVirtioHeader of(const PacketOffload& offload);
  /// The bytes of the packet that the header refers to: a shorter packet is an error.
  std::size_t reach() const;
  /// The offload of a written packet; nothing if the kernel answers EINVAL.
  std::optional<PacketOffload> offload_of(Bytes packet, DeviceKind kind, const MemoryTraits& traits) const;
};

/// Fills a checksum left to fill. As in the kernel, 0 becomes 0xffff for every protocol.
void fill_checksum(MutableBytes packet, const PacketOffload& offload);

/// The datagrams of a super-packet, with checksums complete, or to fill by the offload of each. Empty if the
/// packet contradicts `offload`.
std::vector<WrittenPacket> split(Bytes packet, const PacketOffload& offload, DeviceKind kind, bool complete);

}  // namespace tunport
