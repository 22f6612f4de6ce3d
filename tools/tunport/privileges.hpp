#pragma once
/// Giving privileges up for good.

#include "account.hpp"

namespace tunport::tool {

/// False in a build with a sanitizer: its runtime opens files and asks for more of the kernel to report a
/// fault, so there `filter_system_calls` has no effect.
extern const bool has_system_call_filter;

/// Becomes `account` where the kernel lets us, and gives up every capability, and the way to any by execve
/// (no_new_privs). With `is_asked_for` a user that we cannot become is a `Failure`; otherwise a process
/// without the right to change the user stays the user it is. Throws `Failure` with the remedy.
void drop_privileges(const Account& account, bool is_asked_for);

/// Leaves the process the system calls that a port's loop makes on descriptors that are open, time, memory,
/// and sockets of NETLINK_ROUTE, by which the MTU of an interface is asked. Everything else, such as a file,
/// another socket, execve, ptrace, setuid, or executable memory, fails with EPERM from here on. Precondition:
/// `drop_privileges`. Throws `Failure` on a kernel without filters.
void filter_system_calls();

}  // namespace tunport::tool
