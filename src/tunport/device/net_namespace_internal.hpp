#pragma once
/// Network namespaces: naming one, and doing something inside it.

#include <functional>
#include <string>
#include <system_error>

#include "tunport/base/unique_fd.hpp"
#include "tunport/device/io_system.hpp"

namespace tunport {

/// The calling thread's network namespace (/proc/thread-self/ns/net).
UniqueFd current_namespace(std::error_code& ec);
/// The namespace named `name` (/run/netns/NAME, as `ip netns` makes them), or of a path with a slash.
/// `Errc::no_such_namespace` if there is none, `Errc::not_a_namespace` if the file is something else.
UniqueFd open_namespace(const std::string& name, std::error_code& ec);

/// Runs `inside` with the calling thread in that namespace, and brings the thread back. Other threads stay
/// where they are. A thread that is there already needs no privilege. On an error nothing was run, unless
/// `inside` gave up the privilege to return: then `ec` says so afterwards, and the thread is still there.
/// `Errc::namespace_denied` without CAP_SYS_ADMIN over that namespace and in one's own,
/// `Errc::not_a_namespace` for another descriptor, EBADF for none.
void in_namespace(int namespace_fd, const std::function<void()>& inside, std::error_code& ec);

/// True if both descriptors stand for one namespace.
bool is_same_namespace(int one, int other);
/// The namespace of the device that `fd` is bound to (TUNGETDEVNETNS), asked through `io`. Without
/// CAP_NET_ADMIN over the device's namespace: `Errc::namespace_denied` if the caller has the capability here
/// (so the device is elsewhere), and else the caller's own namespace, as an unprivileged process can change
/// none. Empty, without an error, on Linux before 5.2, which cannot tell.
UniqueFd namespace_of_device(IoSystem& io, int fd, std::error_code& ec);

// The throwing forms (`throwing`).
UniqueFd current_namespace();
UniqueFd open_namespace(const std::string& name);
void in_namespace(int namespace_fd, const std::function<void()>& inside);

}  // namespace tunport
