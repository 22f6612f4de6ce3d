#pragma once
/// An interface of the fake kernel, and the descriptors attached to it. The inside of `MemorySystem`; tests
/// use that one's `Tunnel`.
///
/// Theory. Follows drivers/net/tun.c. Each descriptor (a queue) has a ring of `tx_queue_length` packets that
/// wait for its reader; what does not fit is dropped and counted, without the sender hearing of it. Packets
/// that were queued stay readable when the interface goes down. What is written is tested in the kernel's
/// order: framing, room, what the virtio header says, version nibble, and up last. What is left to do on a
/// packet that is sent is done before it is queued, as far as the mask at that time does not leave it to the
/// reader; whether a virtio header tells him of the rest is decided when he reads.

#include <array>
#include <bit>
#include <climits>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>
#include <sys/uio.h>

#include "tunport/base/bytes.hpp"
#include "tunport/device/link_system.hpp"
#include "tunport/testing/memory_offload.hpp"
#include "tunport/testing/readiness.hpp"

namespace tunport {

/// Packets in order, at most so many. The slots keep their memory.
class PacketRing {
 public:
  struct Slot {
    std::vector<std::byte> packet;
    MemoryVirtioHeader header;
  };

  /// Keeps what fits, the oldest first.
  void resize(std::size_t capacity);
  bool push(Bytes packet, const MemoryVirtioHeader& header);
  /// Precondition: not empty. Valid until `pop`.
  const Slot& front() const { return slots_[head_]; }
  void pop();
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  std::vector<Slot> slots_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

struct MemoryDevice;

/// A descriptor of /dev/net/tun.
struct MemoryFile {
  Readiness readiness;
  std::shared_ptr<MemoryDevice> device;  ///< none before TUNSETIFF
  PacketRing ring;
};

struct MemoryDevice {
  /// `features`: IFF_TUN or IFF_TAP and more, as for TUNSETIFF; neither for what is not a tunnel. The traits
  /// are borrowed.
  MemoryDevice(int number, std::string called, unsigned features, const MemoryTraits& traits);

  bool is_tap() const;
  bool is_tunnel() const;
  DeviceKind kind() const { return is_tap() ? DeviceKind::tap : DeviceKind::tun; }
  bool persistent() const;
  /// Bytes that precede a packet on the descriptor.
  std::size_t framing() const;
  LinkInfo info() const;

  void attach(MemoryFile& file);
  void detach(MemoryFile& file);
  void set_up(bool value);
  void set_tx_queue_length(unsigned packets);
  /// The interface is deleted: the descriptors hear of it, and it keeps what was written to it.
  void remove();

  /// read(2) and write(2); a negated errno on failure. Precondition: attached, not removed.
  ssize_t read(MemoryFile& file, std::span<const iovec> parts, bool non_blocking);
  ssize_t write(std::span<const iovec> parts, bool non_blocking);

  /// The kernel sends a packet to the interface. True if all of it was queued.
  bool inject(Bytes packet, const PacketOffload& offload);
  /// What was written, oldest first; forgotten here.
  std::vector<WrittenPacket> collect();
  void set_writable(bool value);
  /// Says to the loops whether the descriptors are writable.
  void refresh_writable();

  int index;
  std::string name;
  unsigned flags;
  bool removed = false;
  bool moved = false;  ///< into another namespace: not to be found by name, still served
  bool up = false;
  bool held = false;  ///< the test said: not writable
  unsigned mtu = 1500;
  MacAddress mac;
  unsigned tx_queue_length;
  std::uint64_t tx_dropped = 0;
  std::optional<std::uint32_t> owner;
  std::optional<std::uint32_t> group;
  int vnet_header_size = static_cast<int>(MemoryVirtioHeader::size);
  bool vnet_little_endian = false;  ///< asked for by TUNSETVNETLE; has precedence
  bool vnet_big_endian = false;
  unsigned long offload = 0;
  std::array<bool, 4> refused{};  ///< by SegmentKind: what the test says is not taken
  int send_buffer = INT_MAX;
  std::vector<IpPrefix> addresses;
  std::vector<MemoryFile*> queues;
  std::vector<WrittenPacket> written;
  std::size_t written_bytes = 0;

 private:
  bool has_packet_information() const;
  bool has_vnet_header() const;
  std::endian byte_order() const;
  bool enqueue(Bytes packet, const PacketOffload& left);

  const MemoryTraits& traits_;
};

}  // namespace tunport
