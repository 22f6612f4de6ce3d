#pragma once
/// What the fake kernel does with packets on which something is left to do. The inside of `MemorySystem`.
///
/// Theory. Written after include/linux/virtio_net.h and the kernel's segmentation. Neither the library's own
/// virtio header nor its segmenter is used: what a port makes of a super-packet is seen by somebody else's
/// eyes. Where the headers lie is looked up with `find_layout`; the contract suite and test/kernel compare
/// what comes of it with the kernel itself.

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// A packet as it was written to a device, and what was left to do on it.
struct WrittenPacket {
  std::vector<std::byte> bytes;
  PacketOffload offload;
};

/// What kernels differ in.
struct MemoryTraits {
  bool uso = true;  ///< knows UDP super-packets: since 6.2
};

/// struct virtio_net_hdr, its numbers as numbers.
struct MemoryVirtioHeader {
  static constexpr std::size_t size = 10;

  std::uint8_t flags = 0;
  std::uint8_t type = 0;
  std::uint16_t header_length = 0;
  std::uint16_t segment_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;

  /// Precondition for both: at least `size` bytes.
  static MemoryVirtioHeader load(Bytes bytes, std::endian order);
  void store(MutableBytes bytes, std::endian order) const;

  /// What the kernel says with a packet that it sends.
  static MemoryVirtioHeader of(const PacketOffload& offload);
  /// How many bytes of packet the header speaks of: more than there are is an error.
  std::size_t reach() const;
  /// What it means with a packet that was written; nothing where the kernel says EINVAL.
  std::optional<PacketOffload> offload_of(Bytes packet, DeviceKind kind, const MemoryTraits& traits) const;
};

/// Fills the checksum in, if it is left to fill. Never 0, whatever the protocol, as the kernel does it.
void fill_checksum(MutableBytes packet, const PacketOffload& offload);

/// The datagrams of a super-packet, with their checksums complete, or to be filled as the offload says that
/// comes with each. None if the packet is not what `offload` says.
std::vector<WrittenPacket> split(Bytes packet, const PacketOffload& offload, DeviceKind kind, bool complete);

}  // namespace tunport
