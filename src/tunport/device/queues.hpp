#pragma once
/// Several queues of one interface: a reader on each core.
///
/// Theory. A multi-queue interface has a descriptor for each queue (IFF_MULTI_QUEUE, at most 256). The kernel
/// chooses the queue of a packet by flow (`tun_automq_select_queue`): by the hash of addresses and ports, the
/// same hash for both directions, unless the program has written a packet of the flow within the last three
/// seconds. Then the queue of that write is chosen. So a flow stays on its queue, in order, as long as its
/// answers are written to the queue that the flow was read from.
///
/// Each queue is a `Device` of its own, for a port on a reactor and a thread of its own. Framing and offload
/// mask belong to the interface, and are the same for all queues: a port on an open multi-queue device leaves
/// the mask as it is (`PortOptions::offload` has no effect). A kernel that refuses super-packets is learned
/// of by each port for itself. The settings of the interface (`PortOptions::interface`) are for one of the
/// ports, or for `Device::link()` of one queue. A port puts its settings back at its own end, so the port
/// with the settings ends last.

#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/device/device.hpp"

namespace tunport {

/// The largest number of queues of an interface (MAX_TAP_QUEUES in drivers/net/tun.c).
inline constexpr std::size_t max_queues = 256;

/// Opens `queues` queues of one interface, from 1 to `max_queues`: as `Device::open` with
/// `DeviceOptions::multi_queue`, which is implied. `OpenMode` is about the interface: `create` makes it, and
/// all its queues. Throws `Error`: as `Device::open`; `too_many_queues` also if the interface has queues
/// open elsewhere that leave too few (trying again helps after a close); `multi_queue_mismatch` for an
/// interface of a single queue; `not_supported` on a kernel without such interfaces; EINVAL for no queue at
/// all. After an error nothing is open, and nothing is created.
///
///     std::vector<Device> queues = open_queues(DeviceKind::tun, "tun0", 4);
///     // each thread: TuntapPort port{reactor, std::move(queues[i]), protocol};
std::vector<Device> open_queues(DeviceKind kind, const std::string& name, std::size_t queues,
                                const DeviceOptions& options = {}, System system = linux_system());
/// The same; returns no devices and sets `ec` instead of throwing.
std::vector<Device> open_queues(DeviceKind kind, const std::string& name, std::size_t queues,
                                const DeviceOptions& options, System system, std::error_code& ec);

}  // namespace tunport
