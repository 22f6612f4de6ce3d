#pragma once
/// {fmt}: `fmt::format("{:>12}", DropReason::link_down)`. The library's types are formatted as by
/// `to_string`, with the format specifications of strings. Opt-in: needs libfmt, unlike the rest of tunport.

#include <concepts>
#include <string_view>

#include <fmt/format.h>

#include "tunport/tunport.hpp"

namespace tunport {

/// The types with a formatter.
template <class T>
concept Formattable = std::same_as<T, DeviceKind> || std::same_as<T, DropReason> ||
    std::same_as<T, DropCounts> || std::same_as<T, LogLevel> || std::same_as<T, MacAddress> ||
    std::same_as<T, Ipv4Address> || std::same_as<T, Ipv6Address> || std::same_as<T, IpAddress> ||
    std::same_as<T, IpPrefix> || std::same_as<T, Endpoint> || std::same_as<T, OffloadFeatures> ||
    std::same_as<T, Capabilities> || std::same_as<T, OpenMode> || std::same_as<T, PortConfig> ||
    std::same_as<T, PortConfigError> || std::same_as<T, TunnelAddress> || std::same_as<T, WriteResult> ||
    std::same_as<T, Statistics> || std::same_as<T, TuntapPort> || std::same_as<T, UdpPort>;

}  // namespace tunport

/// @cond
template <tunport::Formattable T>
struct fmt::formatter<T> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& value, Context& context) const {
    const auto text = to_string(value);
    return fmt::formatter<std::string_view>::format(text, context);
  }
};
/// @endcond
