#pragma once
/// How a port works. One set for every kind of port; the defaults are what most want.

#include <chrono>
#include <cstddef>

#include "tunport/device/device.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// Options of a port: `TuntapPort port{reactor, "tap0", protocol, {.max_packet_size = 2048}};`
struct PortOptions {
  /// The largest packet, read or written, in bytes with the link's header. A longer one is delivered cut off
  /// and marked as truncated; a longer write is refused. The default holds whatever an interface can have as
  /// MTU.
  std::size_t max_packet_size = 65'600;  // as all sizes, at most 1 GiB
  /// Bytes that one burst reads at the most before others on the reactor have their turn.
  std::size_t max_throughput = std::size_t{256} << 10;
  std::size_t queue_limit = std::size_t{1}
                            << 20;  ///< bytes that may wait to be written; beyond, `queue_full`
  std::size_t queue_high_mark = std::size_t{1} << 19;  ///< above it a push producer is paused; bytes
  std::size_t queue_low_mark = std::size_t{1} << 17;   ///< at or below it it is resumed; bytes
  /// The work on packets that a TUN/TAP port and its kernel leave to each other, as far as the kernel grants
  /// it: with it, packets come and go as super-packets. A protocol that does not care sees no difference.
  OffloadFeatures offload = OffloadFeatures::all();
  /// How long a port looks for another packet before it lets the loop sleep. It keeps its core busy, and
  /// others on the reactor (timers, too) waiting, for that long at a time; answers come several times sooner.
  Duration spin = Duration::zero();
  /// How long `lose_connection` waits for the queue and a registered producer.
  Duration linger = std::chrono::seconds{2};
  /// How a TUN/TAP port opens its device; its `offload` is not looked at, the one above is.
  DeviceOptions device = {};
  /// The operating system, or a fake of it. Outlives the port.
  System system = linux_system();
};

/// Packets that one burst reads at the most.
inline constexpr std::size_t burst_packets = 64;
/// How often a queue that waits for the kernel is tried besides being told.
inline constexpr Duration queue_retry_interval = std::chrono::milliseconds{100};

}  // namespace tunport
