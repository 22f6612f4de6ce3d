#pragma once
/// A network of one's own: `--sandbox`.

#include <functional>
#include <optional>
#include <string>

namespace tunport::tool {

/// Moves the process into a new network namespace with loopback up: as root into that alone, otherwise (or
/// where root may not) into a new user namespace too, as its root. Precondition: one thread. Throws `Failure`
/// with the way to turn user namespaces on where they are off.
void enter_sandbox();

/// Reads the number in a file below /proc/sys; nothing if it is not there.
using ReadSysctl = std::function<std::optional<long>(const std::string& path)>;

/// Why there is no new user namespace, and what to do about it. `error`: what the kernel said, an errno.
std::string why_no_user_namespace(int error, const ReadSysctl& read);

}  // namespace tunport::tool
