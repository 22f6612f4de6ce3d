#pragma once
/// The options of a port: one set for every kind of port, with defaults for most programs.

#include <chrono>
#include <cstddef>
#include <optional>

#include "tunport/device/device.hpp"
#include "tunport/device/interface_options.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/port/socket_options.hpp"

namespace tunport {

/// Options of a port: `TuntapPort port{reactor, "tap0", protocol, {.max_packet_size = 2048}};`
struct PortOptions {
  /// The largest packet, read or written, in bytes with the link's header. A longer packet is delivered cut
  /// off and marked as truncated; a longer write is refused. The default holds the largest MTU of any
  /// interface.
  std::size_t max_packet_size = 65'600;  // as all sizes, at most 1 GiB
  /// The largest number of bytes in a burst; then other descriptors have their turn.
  std::size_t max_throughput = std::size_t{256} << 10;
  std::size_t queue_limit = std::size_t{1} << 20;      ///< bytes of the write queue; beyond, `queue_full`
  std::size_t queue_high_mark = std::size_t{1} << 19;  ///< bytes; a longer queue pauses a push producer
  std::size_t queue_low_mark = std::size_t{1} << 17;   ///< bytes; at or below, the producer resumes
  /// The work on packets that a TUN/TAP port and its kernel leave to each other, as far as the kernel grants:
  /// packets come and go as super-packets. Protocols for plain datagrams see no difference. No effect on a
  /// port that is given an open multi-queue device: the features belong to all queues (`open_queues`).
  OffloadFeatures offload = OffloadFeatures::all();
  /// The time for which a port looks for another packet before the loop may sleep. During a spin the core is
  /// busy and other descriptors and timers wait, for at most `spin` at a time; answers come several times
  /// sooner.
  Duration spin = Duration::zero();
  /// The time for which a port sleeps after a burst that took all there was: steady traffic then costs a
  /// wake-up for each sleep, instead of one for every few packets. Packets wait in the kernel meanwhile
  /// (`InterfaceOptions::tx_queue_length`), and the loop waits too: its timers, its other descriptors, and
  /// answers come later by up to as much. A burst that finds nothing, or more than its budget, is followed by
  /// no sleep. At most a second; not with `spin`.
  Duration moderation = Duration::zero();
  /// The longest wait of `lose_connection` for the queue and a registered producer.
  Duration linger = std::chrono::seconds{2};
  /// The options for opening a TUN/TAP device, except `device.offload`: `offload` above counts.
  DeviceOptions device = {};
  /// The kernel's side of a TUN/TAP port, set at the start in the device's own namespace; nothing by default.
  /// At the end of the port the settings go with the device; on a persistent, multi-queue or adopted device
  /// the port puts everything back: of the ports of several queues, one has the settings, and ends last. A
  /// wrong value fails the start before the device is opened.
  InterfaceOptions interface = {};
  /// How a UDP port sets up its socket.
  SocketOptions socket = {};
  /// A descriptor of the TUN/TAP port's device, opened elsewhere: the first start adopts the descriptor
  /// (`Device::adopt`) instead of opening, and then owns it. The device must be of the port's kind and name
  /// (`wrong_kind`, `other_device`). Later starts open by name.
  std::optional<int> fd = {};
  /// The operating system, or a fake. Outlives the port.
  System system = linux_system();
};

/// The largest number of packets in a burst.
inline constexpr std::size_t burst_packets = 64;
/// The interval of tries to send a queue, besides the reactor's reports.
inline constexpr Duration queue_retry_interval = std::chrono::milliseconds{100};

}  // namespace tunport
