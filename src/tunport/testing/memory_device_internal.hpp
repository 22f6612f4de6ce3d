#pragma once
/// An interface of the fake kernel, and the attached descriptors. The inside of `MemorySystem`; tests use
/// `MemorySystem::Tunnel`.
///
/// Theory. The model is drivers/net/tun.c. Each descriptor (a queue) has a ring of `tx_queue_length` packets
/// for its reader. A full ring drops and counts a packet, without an error to the sender. Queued packets stay
/// readable when the interface goes down. A write is tested in the kernel's order: framing, room, virtio
/// header, version nibble, and state of the interface last. A sent packet is segmented and summed before the
/// queue, unless the mask at the time leaves the work to the reader. The flags at the time of the read decide
/// on a virtio header. Of several queues, a flow has the queue that the flow was last written to, else a
/// queue by its hash. A queue out of service (TUNSETQUEUE) gets no packets, and writes on.

#include <array>
#include <bit>
#include <climits>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>
#include <sys/uio.h>

#include "tunport/base/bytes.hpp"
#include "tunport/device/link_system.hpp"
#include "tunport/testing/memory_offload_internal.hpp"
#include "tunport/testing/readiness_internal.hpp"

namespace tunport {

/// A queue of packets with a capacity. The slots keep their memory.
class PacketRing {
 public:
  struct Slot {
    std::vector<std::byte> packet;
    MemoryVirtioHeader header;
  };

  /// Drops all packets.
  void clear() { size_ = 0; }
  /// Changes the capacity, and keeps the oldest packets as far as they fit.
  void resize(std::size_t capacity);
  /// Appends a packet; false if the ring is full.
  bool push(Bytes packet, const MemoryVirtioHeader& header);
  /// The oldest packet, valid until `pop`. Precondition: not empty.
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
  std::shared_ptr<MemoryDevice> device;  ///< null before TUNSETIFF
  bool in_service = true;                ///< false after TUNSETQUEUE with IFF_DETACH_QUEUE
  PacketRing ring;
};

struct MemoryDevice {
  /// `features`: IFF_TUN or IFF_TAP and more, as for TUNSETIFF; neither for an interface that is no tunnel.
  /// The traits are borrowed.
  MemoryDevice(int number, std::string called, unsigned features, const MemoryTraits& traits);

  bool is_tap() const;
  bool is_tunnel() const;
  DeviceKind kind() const { return is_tap() ? DeviceKind::tap : DeviceKind::tun; }
  bool persistent() const;
  /// The bytes before a packet on the descriptor.
  std::size_t framing() const;
  LinkInfo info() const;

  void attach(MemoryFile& file);
  void detach(MemoryFile& file);
  /// TUNSETQUEUE: takes an attached queue out of service, or back into service.
  void set_in_service(MemoryFile& file, bool value);
  /// Attached descriptors, in service or not.
  std::size_t attached() const { return queues.size() + resting.size(); }
  void set_up(bool value);
  void set_tx_queue_length(unsigned packets);
  /// Deletes the interface: the descriptors hang up, and packets written stay for `collect`.
  void remove();

  /// As read(2), with a negated errno. Precondition: `file` is attached, and the device not removed.
  ssize_t read(MemoryFile& file, std::span<const iovec> parts, bool non_blocking);
  /// As write(2), with a negated errno. Precondition: `file` is attached, and the device not removed.
  ssize_t write(MemoryFile& file, std::span<const iovec> parts, bool non_blocking);

  /// The kernel sends a packet to the interface. True if the whole packet was queued.
  bool inject(Bytes packet, const PacketOffload& offload);
  /// Takes the packets written, oldest first.
  std::vector<WrittenPacket> collect();
  /// False holds writes, as a full send buffer does.
  void set_writable(bool value);
  /// Sets the readiness of the descriptors for writes.
  void refresh_writable();

  int index;
  std::string name;
  unsigned flags;
  bool removed = false;
  bool moved = false;  ///< moved into another namespace: not found by name, but in service
  bool up = false;
  bool carrier = false;  ///< a queue is attached, unless IFF_NO_CARRIER or TUNSETCARRIER said otherwise
  bool held = false;     ///< writes are held by `set_writable(false)`
  unsigned mtu = 1500;
  MacAddress mac;
  unsigned tx_queue_length;
  std::uint64_t tx_dropped = 0;
  std::optional<std::uint32_t> owner;
  std::optional<std::uint32_t> group;
  int vnet_header_size = static_cast<int>(MemoryVirtioHeader::size);
  bool vnet_little_endian = false;  ///< set by TUNSETVNETLE; has precedence
  bool vnet_big_endian = false;
  unsigned long offload = 0;
  std::array<bool, 4> refused{};  ///< by SegmentKind: super-packets refused by the test
  int send_buffer = INT_MAX;
  std::vector<InterfaceAddress> addresses;
  std::vector<Route> routes;         ///< added routes; connected routes follow from the addresses
  std::vector<MemoryFile*> queues;   ///< in service
  std::vector<MemoryFile*> resting;  ///< attached queues out of service
  std::vector<WrittenPacket> written;
  std::size_t written_bytes = 0;

 private:
  bool has_packet_information() const;
  bool has_vnet_header() const;
  bool has_backpressure() const;
  std::endian byte_order() const;
  bool enqueue(Bytes packet, const PacketOffload& left);
  /// The same for both directions of a flow; 0 for a packet without a flow.
  std::uint32_t flow_of(Bytes packet) const;
  /// The queue of a packet. Precondition: a queue is attached.
  MemoryFile& queue_of(Bytes packet) const;

  const MemoryTraits& traits_;
  std::map<std::uint32_t, MemoryFile*> flows_;  ///< by `flow_of`: the queue of the last write
};

}  // namespace tunport
