#pragma once
/// A port by its name: what persists of one, as text that people write and read.
///
///     tap:tp0                        kind and name
///     tap:tp0,mode=attach,mtu=9000   options follow, in any order
///     tun:tp0,offload=off,spin=50us  no super-packets; looks for 50 us before it sleeps

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tunport/port/port_options.hpp"

namespace tunport {

struct PortConfigResult;

/// The configuration of a TUN/TAP port.
struct PortConfig {
  DeviceKind kind = DeviceKind::tap;
  std::string name;  ///< of the interface, or a template ("tp%d"); a comma cannot be written in text
  OpenMode mode = OpenMode::either;
  std::optional<unsigned> mtu = {};  ///< bytes of IP; none: as the device has it
  OffloadFeatures offload =
      OffloadFeatures::all();         ///< `PortOptions::offload`: auto, off, or "checksum+tso4"
  std::chrono::microseconds spin{0};  ///< `PortOptions::spin`: "50us", "1ms", at most a second

  /// Reads the text form: `PortConfig::parse("tap:tp0,mtu=9000").config`. A wrong text is an error that says
  /// where.
  static PortConfigResult parse(std::string_view text);
  /// The options of a port of this configuration, the others as they are in `rest`. The MTU is the link's,
  /// not the port's.
  PortOptions options(PortOptions rest = {}) const;
  bool operator==(const PortConfig&) const = default;
};

/// Where a text is no port's name, and why.
struct PortConfigError {
  std::size_t position = 0;  ///< characters before the wrong part
  std::string part;          ///< the wrong part; empty if something is missing there
  std::string problem;       ///< what is wrong with it, and what would be right
};

/// A configuration, or else the error.
struct PortConfigResult {
  std::optional<PortConfig> config;
  PortConfigError error = {};
};

/// "create", "attach", "either"
std::string_view to_string(OpenMode mode);
/// The text form, which `parse` reads back; options that have their default are left out.
std::string to_string(const PortConfig& config);
/// "at character 9, 'mtx': no such option; there are mode, mtu, offload, spin"
std::string to_string(const PortConfigError& error);

}  // namespace tunport
