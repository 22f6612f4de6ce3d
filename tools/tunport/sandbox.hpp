#pragma once
/// A network of one's own: `--sandbox`.

#include <functional>
#include <optional>
#include <string>

namespace tunport::tool {

/// What a sandbox consists of beside its network namespace.
struct Sandbox {
  bool has_users = false;   ///< a user namespace
  bool has_mounts = false;  ///< a mount namespace with a sysfs of its own
  std::string note;         ///< a line for the user about what is missing; empty if nothing is

  /// The command line that leads into the sandbox of process `pid`.
  std::string way_in(int pid) const;
};

/// Moves the process into a new network namespace with loopback up: as root into that alone, otherwise (or
/// where root may not) into a new user namespace too, as its root. /sys then shows that network, as `ip netns
/// exec` has it: a sysfs of its own is mounted in a new mount namespace. Where that is refused, the sandbox
/// goes without. Precondition: one thread. Throws `Failure` with the cause and the remedy.
Sandbox enter_sandbox();

/// Reads the number in a file below /proc/sys; nothing if it is not there.
using ReadSysctl = std::function<std::optional<long>(const std::string& path)>;

/// Why there is no new user namespace, and what to do about it. `error`: what the kernel said, an errno.
std::string why_no_user_namespace(int error, const ReadSysctl& read);
/// Why there is no new network namespace, and what to do about it.
std::string why_no_network_namespace(int error);

}  // namespace tunport::tool
