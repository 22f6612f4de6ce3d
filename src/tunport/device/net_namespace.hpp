#pragma once
/// Network namespaces: naming one, and doing something inside it.

#include <functional>
#include <string>
#include <system_error>

#include "tunport/base/unique_fd.hpp"

namespace tunport {

/// The calling thread's network namespace (/proc/thread-self/ns/net).
UniqueFd current_namespace(std::error_code& ec);
/// The namespace named `name` (/run/netns/NAME, as `ip netns` makes them), or of a path with a slash.
/// `Errc::no_such_namespace` if there is none, `Errc::not_a_namespace` if the file is something else.
UniqueFd open_namespace(const std::string& name, std::error_code& ec);

/// Runs `inside` with the calling thread in that namespace, and brings the thread back. Other threads stay
/// where they are. On an error nothing was run, unless `inside` gave up the privilege to return: then `ec`
/// says so afterwards, and the thread is still there. `Errc::namespace_denied` without CAP_SYS_ADMIN over
/// that namespace and in one's own, `Errc::not_a_namespace` for another descriptor, EBADF for none.
void in_namespace(int namespace_fd, const std::function<void()>& inside, std::error_code& ec);

// The throwing forms (`throwing`).
UniqueFd current_namespace();
UniqueFd open_namespace(const std::string& name);
void in_namespace(int namespace_fd, const std::function<void()>& inside);

}  // namespace tunport
