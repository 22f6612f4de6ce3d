#pragma once
/// Joins the datagrams of a burst into super-packets.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// The lifetime of a datagram's bytes.
enum class Keep : std::uint8_t {
  copy,  ///< the bytes may change after the return of `add`
  /// The bytes stay the same until the end of the flush, except for a checksum left to fill. A large payload
  /// is referred to, not copied.
  reference,
};

/// A packet from a flush of a `Coalescer`.
struct Coalesced {
  /// The packet's bytes, in order, in at most `Coalescer::max_parts` parts. The first part is writable, and
  /// so are the `Coalescer::headroom` bytes before the first part: room for a header.
  std::span<iovec> parts;
  /// The offload of a super-packet has the checksum to fill. The offload of a single datagram is as added.
  PacketOffload offload;
  std::size_t datagrams = 0;  ///< number of datagrams in the packet
  std::size_t size = 0;       ///< bytes in all parts
};

/// Joins datagrams into super-packets, until a flush. Consecutive datagrams of a flow become a packet, in the
/// place of the first; the rest keeps its order. Segmentation of the packets gives the datagrams back. The
/// source has the rules of joining.
///
/// The first datagram allocates memory, once. Only the allocation throws (std::bad_alloc).
///
///   if (!coalescer.add(datagram, {}, Keep::copy, device.offloads())) {
///     coalescer.flush(send);
///     coalescer.add(datagram, {}, Keep::copy, device.offloads());
///   }
class Coalescer {
 public:
  static constexpr std::size_t default_capacity = 320 * 1024;  ///< bytes
  static constexpr std::size_t headroom = 64;                  ///< bytes before each packet
  static constexpr std::size_t max_items = 64;                 ///< packets between two flushes
  static constexpr std::size_t max_parts = 256;                ///< parts of a packet

  /// `kind`: the kind of the device. `capacity`: bytes for copies of datagrams, headers and headrooms. A copy
  /// of more than `capacity - headroom` bytes never fits; a datagram in parts never fits beyond half of the
  /// difference.
  explicit Coalescer(DeviceKind kind, std::size_t capacity = default_capacity);
  Coalescer(const Coalescer&) = delete;
  Coalescer& operator=(const Coalescer&) = delete;
  ~Coalescer();

  /// Adds a datagram (a frame on TAP). `left`: the offload of the datagram. `device`: the offload of the
  /// device; datagrams join only to a kind of super-packet among `device`. Returns false without room, and
  /// takes nothing then: another try after a flush succeeds, if the capacity suffices at all. Precondition:
  /// the datagram is not empty and not a super-packet.
  bool add(Bytes datagram, const PacketOffload& left, Keep keep, const OffloadFeatures& device);
  /// Adds a copy of a datagram in parts.
  bool add(std::span<const Bytes> parts, const PacketOffload& left, const OffloadFeatures& device);

  /// Calls `send(const Coalesced&)` with each packet, in the order of the first datagrams. The coalescer is
  /// empty afterwards, also after an exception of `send`. `send` must not touch the coalescer.
  template <typename Send>
  void flush(Send&& send) {
    struct AtEnd {
      Coalescer& self;
      ~AtEnd() { self.clear(); }
    } at_end{*this};
    for (std::size_t i = 0, count = items(); i < count; ++i) send(finish(i));
  }
  /// Forgets all datagrams.
  void clear();

  /// True without a datagram.
  bool empty() const { return size() == 0; }
  /// The number of datagrams since the last flush.
  std::size_t size() const;
  /// The bytes of the packets that a flush would send.
  std::size_t bytes() const;

 private:
  struct State;

  bool make_state();
  std::size_t items() const;
  Coalesced finish(std::size_t index);

  DeviceKind kind_;
  std::size_t capacity_;
  std::unique_ptr<State> state_;
};

}  // namespace tunport
