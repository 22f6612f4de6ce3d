#pragma once
/// Words to a service manager: sd_notify(3).

#include <string_view>

namespace tunport::tool {

/// Sends `state` ("READY=1") to the socket of NOTIFY_SOCKET: a path, or '@' and an abstract name. No effect
/// without the variable; a manager that does not listen is no failure.
void notify(std::string_view state) noexcept;

/// Takes NOTIFY_SOCKET out of the environment, so that COMMAND does not speak for us. `notify` still knows
/// the socket.
void keep_notifications_to_us() noexcept;

}  // namespace tunport::tool
