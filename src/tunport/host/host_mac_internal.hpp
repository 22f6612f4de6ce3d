#pragma once
/// The default of a host's MAC address.

#include <string_view>

#include "tunport/wire/address.hpp"

namespace tunport {

/// A locally administered unicast address, made of the host's address and the interface's name: the same at
/// each start, another for each host. Never `taken`, the address of the kernel's side.
MacAddress derive_mac(const IpAddress& address, std::string_view interface, const MacAddress& taken);

}  // namespace tunport
