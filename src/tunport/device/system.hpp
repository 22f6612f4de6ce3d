#pragma once
/// The two seams together: what a device is opened with.

#include "tunport/device/io_system.hpp"
#include "tunport/device/link_system.hpp"

namespace tunport {

/// The operating system as a device sees it; both references outlive whatever is opened with them. A
/// `MemorySystem` converts to this.
struct System {
  IoSystem& io;
  LinkSystem& links;
};

/// The kernel: `linux_io()`, and the interfaces of whichever namespace the calling thread is in at each call.
System linux_system();

}  // namespace tunport
