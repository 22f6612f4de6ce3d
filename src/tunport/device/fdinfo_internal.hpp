#pragma once
/// Descriptors as the kernel describes them: /proc/PID/fdinfo/FD (tun_chr_show_fdinfo in drivers/net/tun.c).

#include <string>

namespace tunport {

/// True if the descriptor of the file `fdinfo` is bound to the interface.
bool is_bound_to(const std::string& fdinfo, const std::string& interface);

}  // namespace tunport
