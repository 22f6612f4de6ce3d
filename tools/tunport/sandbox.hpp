#pragma once
/// A private network: `--sandbox`.

#include <functional>
#include <optional>
#include <string>

namespace tunport::tool {

/// The parts of a sandbox beside the network namespace.
struct Sandbox {
  bool has_users = false;   ///< a user namespace
  bool has_mounts = false;  ///< a mount namespace with a private sysfs
  std::string note;         ///< a line for the user about a missing part; empty without

  /// The command line into the sandbox of process `pid`.
  std::string way_in(int pid) const;
};

/// Moves the process into a new network namespace with loopback up: as root into a network namespace alone,
/// otherwise (or where root may not) also into a new user namespace, as root there. A private sysfs, mounted
/// in a new mount namespace, makes /sys show the new network, as in `ip netns exec`. Where the kernel refuses
/// the sysfs, the sandbox goes without. Precondition: one thread. Throws `Failure` with the cause and the
/// remedy.
Sandbox enter_sandbox();

/// Reads the number in a file below /proc/sys; nothing without the file.
using ReadSysctl = std::function<std::optional<long>(const std::string& path)>;
/// Reads it from this machine.
std::optional<long> read_sysctl(const std::string& path);

/// Why there is no new user namespace, and the remedy. `error`: the kernel's errno.
std::string why_no_user_namespace(int error, const ReadSysctl& read);
/// Why there is no new network namespace, and the remedy.
std::string why_no_network_namespace(int error);

}  // namespace tunport::tool
