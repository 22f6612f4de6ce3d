#pragma once
/// Ports of a sandbox that are open outside.

#include <cstdint>
#include <optional>
#include <string>

#include "tunport/wire/address.hpp"

namespace tunport::tool {

/// A port of `--publish`.
struct Published {
  Endpoint outside;          ///< of this machine
  std::uint16_t inside = 0;  ///< of the sandbox's loopback
  bool is_udp = false;
  bool operator==(const Published&) const = default;

  /// "8080", "8080:80", "0.0.0.0:8080:80", "[::1]:53:5353/udp". Without an address 127.0.0.1, without a
  /// second port the first. Otherwise nothing, and `problem` says what is wrong.
  static std::optional<Published> parse(const std::string& text, std::string& problem);
};

}  // namespace tunport::tool
