#pragma once
/// {fmt}: `fmt::format("{:>12}", DropReason::link_down)`. Of the library's own types, formatted as
/// `to_string` has them, with the format specifications of strings. Opt-in: needs libfmt, which tunport
/// itself does not. Each room with printable types has a header of this name; this one has DeviceKind,
/// DropReason and LogLevel.

#include <string_view>

#include <fmt/format.h>

#include "tunport/base/device_kind.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/base/log.hpp"

namespace tunport {

/// A formatter of whatever has a `to_string`.
template <class T>
struct FormatByName : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& value, Context& context) const {
    const auto text = to_string(value);
    return fmt::formatter<std::string_view>::format(text, context);
  }
};

}  // namespace tunport

template <>
struct fmt::formatter<tunport::DeviceKind> : tunport::FormatByName<tunport::DeviceKind> {};
template <>
struct fmt::formatter<tunport::DropReason> : tunport::FormatByName<tunport::DropReason> {};
template <>
struct fmt::formatter<tunport::LogLevel> : tunport::FormatByName<tunport::LogLevel> {};
