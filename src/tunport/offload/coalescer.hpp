#pragma once
/// Datagrams into super-packets: what is written during a burst, joined.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

/// What a `Coalescer` does with a datagram's bytes.
enum class Keep : std::uint8_t {
  copy,  ///< they may change as soon as `add` has returned
  /// They stay as they are until the flush is over, but for a checksum that is left to fill: a large payload
  /// is gathered from there.
  reference,
};

/// One packet as a `Coalescer` gives it away.
struct Coalesced {
  /// Its bytes, in order; at most `Coalescer::max_parts`. The first part may be written to and has
  /// `Coalescer::headroom` bytes before it that may be, too: room for what goes before a packet.
  std::span<iovec> parts;
  /// Of a super-packet: its segmentation, with the checksum to fill. Of a single datagram: as it was added.
  PacketOffload offload;
  std::size_t datagrams = 0;  ///< how many it is
  std::size_t size = 0;       ///< bytes in all its parts
};

/// Joins the datagrams that it is given into super-packets, until it is flushed. Datagrams of one flow that
/// follow each other become one packet, in the place of the first; nothing else is moved, and whoever
/// segments what comes out has what went in. What joins, and what does not, is said in the source.
///
/// Memory is allocated once, with the first datagram. Nothing throws but that allocation.
///
///   if (!coalescer.add(datagram, {}, Keep::copy, device.offloads())) {
///     coalescer.flush(send);
///     coalescer.add(datagram, {}, Keep::copy, device.offloads());
///   }
class Coalescer {
 public:
  static constexpr std::size_t default_capacity = 320 * 1024;
  static constexpr std::size_t headroom = 64;    ///< bytes before each packet
  static constexpr std::size_t max_items = 64;   ///< packets between two flushes
  static constexpr std::size_t max_parts = 256;  ///< of a packet

  /// `capacity`: bytes that it holds, headers and headrooms included; a datagram of more than
  /// `capacity - headroom` bytes is never taken; in parts, of more than half of that.
  explicit Coalescer(DeviceKind kind, std::size_t capacity = default_capacity);
  Coalescer(const Coalescer&) = delete;
  Coalescer& operator=(const Coalescer&) = delete;
  ~Coalescer();

  /// Takes a datagram, a frame on TAP, not empty, with what is left to do on it: not a super-packet. It joins
  /// others only to a kind of super-packet that `device` takes over. False, and nothing was taken, if there
  /// is no room: flush, and add it again.
  bool add(Bytes datagram, const PacketOffload& left, Keep keep, const OffloadFeatures& device);
  /// The same for a datagram with nothing known of it, copied: in the shortest way.
  bool add(Bytes datagram, const OffloadFeatures& device);
  /// The same with the datagram in parts; copies it.
  bool add(std::span<const Bytes> parts, const PacketOffload& left, const OffloadFeatures& device);

  /// Calls `send(const Coalesced&)` with each packet, in the order in which they were begun, and is empty
  /// then, also if `send` throws. `send` must not touch the coalescer.
  template <typename Send>
  void flush(Send&& send) {
    struct AtEnd {
      Coalescer& self;
      ~AtEnd() { self.clear(); }
    } at_end{*this};
    for (std::size_t i = 0, count = items(); i < count; ++i) send(finish(i));
  }
  /// Forgets what it holds.
  void clear();

  bool empty() const { return size() == 0; }
  /// Datagrams that it holds.
  std::size_t size() const;
  /// Bytes of the packets that it holds, as they would be sent.
  std::size_t bytes() const;

 private:
  struct State;

  std::size_t items() const;
  Coalesced finish(std::size_t index);

  DeviceKind kind_;
  std::size_t capacity_;
  std::unique_ptr<State> state_;
};

}  // namespace tunport
