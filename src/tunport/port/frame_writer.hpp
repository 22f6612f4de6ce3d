#pragma once
/// How packets get from a port into its device: the framing before them, super-packets, and what to do when
/// the kernel does not take one.
///
/// Theory. What precedes a packet on the descriptor (packet information, the virtio header) is put right
/// before it where there is room, and gathered otherwise. A super-packet goes as it is if the device takes
/// its kind. If the kernel refuses it all the same (EINVAL), the same data is sent again in segments. If it
/// takes all of those, and UDP's are no more than every kernel allows, it was the kind that it does not like,
/// and super-packets of this kind are segmented from then on. If its buffer is full in between, the writer
/// remembers how many it has: whoever keeps the packet gives it again, before any other, and it goes on. A
/// packet from elsewhere cannot bring that about: its header has passed our own bounds before
/// (`virtio_header::decode`), and what is wrong with the packet is wrong with its segments as well.

#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "tunport/base/bytes.hpp"
#include "tunport/device/device.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/offload/segmenter.hpp"
#include "tunport/port/statistics.hpp"

namespace tunport {

/// Writes to a device, which is borrowed, as are the statistics in which it counts what the kernel has taken.
/// Nothing is queued here.
class FrameWriter {
 public:
  FrameWriter(Device& device, Statistics& statistics) : device_{device}, statistics_{statistics} {}

  /// The device was opened: begins with what it was granted.
  void reset() {
    takes_ = device_.capabilities().offload;
    forget();
  }
  /// What may be given to the device as it is. Shrinks when the kernel refuses a kind.
  const OffloadFeatures& takes() const { return takes_; }

  /// Writes one packet, gathered from at most 16 parts, with that left to do on it. Zero when the kernel has
  /// it, or any of its segments (the others are counted as dropped then), else a positive errno as
  /// `Device::write`. After EAGAIN the next packet given must be the same one, or `forget` be called.
  int write(std::span<const Bytes> parts, const PacketOffload& left);
  /// The same for parts before the first of which `max_framing` bytes may be overwritten.
  int write_in_place(std::span<iovec> parts, const PacketOffload& left);
  /// How many datagrams of the packet that met EAGAIN are done with: the kernel has them, or they are counted
  /// as dropped.
  std::size_t done() const { return done_; }
  /// That packet is not given again.
  void forget() { done_ = 0; }

  /// Calls `call(Bytes)` with each of the datagrams that a super-packet is, their checksums filled. The
  /// packet is not changed; what `call` gets lives for the call.
  template <class Call>
  void for_each_datagram(std::span<const iovec> parts, const PacketOffload& left, Call call) {
    Scratch& scratch = assemble(parts);
    scratch.segmenter.start(scratch.packet, left, device_.kind());
    for (Bytes segment; !(segment = scratch.segmenter.next_in_place(ChecksumState::verified)).empty();)
      call(segment);
    scratch.segmenter.reset();
  }

 private:
  /// For packets that must be changed before they go: allocated when the first does.
  struct Scratch {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0;
    MutableBytes packet;
    Segmenter segmenter;
  };

  int note(int error, std::span<const iovec> parts, const PacketOffload& left);
  Scratch& assemble(std::span<const iovec> parts);
  int write_otherwise(std::span<const iovec> parts, const PacketOffload& left);
  int write_single(Bytes datagram);
  void demote(SegmentKind kind);

  Device& device_;
  Statistics& statistics_;
  OffloadFeatures takes_;
  std::size_t done_ = 0;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace tunport
