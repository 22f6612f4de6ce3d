#pragma once
/// {fmt}: addresses, prefixes and endpoints. See base/fmt.hpp.

#include "tunport/base/fmt.hpp"
#include "tunport/wire/address.hpp"

template <>
struct fmt::formatter<tunport::MacAddress> : tunport::FormatByName<tunport::MacAddress> {};
template <>
struct fmt::formatter<tunport::Ipv4Address> : tunport::FormatByName<tunport::Ipv4Address> {};
template <>
struct fmt::formatter<tunport::Ipv6Address> : tunport::FormatByName<tunport::Ipv6Address> {};
template <>
struct fmt::formatter<tunport::IpAddress> : tunport::FormatByName<tunport::IpAddress> {};
template <>
struct fmt::formatter<tunport::IpPrefix> : tunport::FormatByName<tunport::IpPrefix> {};
template <>
struct fmt::formatter<tunport::Endpoint> : tunport::FormatByName<tunport::Endpoint> {};
