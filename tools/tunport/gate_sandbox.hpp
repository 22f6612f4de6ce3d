#pragma once
/// A network of its own for a COMMAND, whose packets come to us.

#include <string>
#include <vector>

#include "tunport/base/unique_fd.hpp"
#include "tunport/device/device.hpp"

#include "gate_plan.hpp"

namespace tunport::tool {

/// The namespaces of a sandbox, with a TUN in it, and the listeners of a gate. Made by a process that enters
/// new namespaces, prepares everything inside, hands the descriptors over, and ends: we stay outside, where
/// the outgoing sockets belong. The namespaces last as long as a descriptor or a process of theirs.
struct GateSandbox {
  Device device;
  std::vector<UniqueFd> listeners;
  UniqueFd users;  ///< empty without a user namespace of its own
  UniqueFd mounts;
  UniqueFd network;
  std::string note;  ///< a line for the user about a missing part; empty without

  /// Makes the sandbox of a plan. Precondition: one thread. Throws `Failure` with the cause and the remedy.
  static GateSandbox make(const GatePlan& plan);
  /// Moves the calling process into the namespaces; its working directory stays. For a forked child: zero, or
  /// the errno.
  int enter() const noexcept;
};

}  // namespace tunport::tool
