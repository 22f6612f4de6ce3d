#pragma once
/// {fmt}: ports, their addresses and configurations. See base/fmt.hpp.

#include "tunport/base/fmt.hpp"
#include "tunport/port/port_config.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"

template <>
struct fmt::formatter<tunport::PortConfig> : tunport::FormatByName<tunport::PortConfig> {};
template <>
struct fmt::formatter<tunport::PortConfigError> : tunport::FormatByName<tunport::PortConfigError> {};
template <>
struct fmt::formatter<tunport::TunnelAddress> : tunport::FormatByName<tunport::TunnelAddress> {};
template <>
struct fmt::formatter<tunport::TuntapPort> : tunport::FormatByName<tunport::TuntapPort> {};
template <>
struct fmt::formatter<tunport::UdpPort> : tunport::FormatByName<tunport::UdpPort> {};
