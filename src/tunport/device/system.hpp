#pragma once
/// The two seams together, for opening devices.

#include "tunport/device/io_system.hpp"
#include "tunport/device/link_system.hpp"

namespace tunport {

/// The operating system as a device sees it; both references outlive devices and ports. A `MemorySystem`
/// converts to `System`.
struct System {
  IoSystem& io;
  LinkSystem& links;
};

/// The kernel: `linux_io()`, and the interfaces of the calling thread's namespace at each call.
System linux_system();

}  // namespace tunport
