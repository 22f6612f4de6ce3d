#pragma once
/// A port by name: the persistent configuration of a port, as text for people.
///
///     tap:tp0                        kind and name
///     tap:tp0,mode=attach,mtu=9000   options follow, in any order
///     tun:tp0,offload=off,spin=50us  no super-packets; spins for 50 us before sleeping
///     tun:tp0,moderation=50us        sleeps for 50 us after a burst
///     tap:tp0,address=10.0.0.1/24,up the kernel's side has an address, and is up

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
  DeviceKind kind = DeviceKind::tap;  ///< "tap:" or "tun:"
  std::string name;                   ///< interface, or template ("tp%d"); text cannot hold a comma
  OpenMode mode = OpenMode::either;   ///< create, attach, or either
  /// `PortOptions::interface`, but for routes: "mtu=9000", "mac=02:00:00:00:00:01", "txqueuelen=4000", "up",
  /// and "address=10.0.0.1/24" for each address.
  InterfaceOptions interface = {};
  std::optional<int> fd = {};  ///< `PortOptions::fd`: "fd=5"; not with what an open decides
  bool napi = false;           ///< `DeviceOptions::napi`: "napi"
  bool backpressure = false;   ///< `DeviceOptions::backpressure`, asked for: "backpressure"
  /// `DeviceOptions::virtio_header_size`: "vnethdr=12".
  std::optional<VirtioHeaderSize> virtio_header_size = {};
  /// `DeviceOptions::network_namespace`, but names only: "netns=blue" is /run/netns/blue.
  std::string network_namespace = {};
  OffloadFeatures offload =
      OffloadFeatures::all();               ///< `PortOptions::offload`: auto, off, or "checksum+tso4"
  std::chrono::microseconds spin{0};        ///< `PortOptions::spin`: "50us", "1ms", at most a second
  std::chrono::microseconds moderation{0};  ///< `PortOptions::moderation`, likewise; not with `spin`

  /// Reads the text form: `PortConfig::parse("tap:tp0,mtu=9000").config`. Wrong text gives an error with its
  /// position.
  static PortConfigResult parse(std::string_view text);
  /// The options of a port with this configuration, on top of `rest`.
  PortOptions options(PortOptions rest = {}) const;
  bool operator==(const PortConfig&) const = default;
};

/// The position of wrong text, and the reason.
struct PortConfigError {
  std::size_t position = 0;  ///< characters before the wrong part
  std::string part;          ///< the wrong part; empty if a part is missing
  std::string problem;       ///< the fault, and the accepted values
};

/// A configuration, or an error.
struct PortConfigResult {
  std::optional<PortConfig> config;  ///< nothing after an error
  PortConfigError error = {};        ///< valid without a configuration
};

/// The text form: "create", "attach", "either".
std::string_view to_string(OpenMode mode);
/// The text form, for `parse`; options with default values are left out.
std::string to_string(const PortConfig& config);
/// The text form: "at character 12, 'vpn': no such mode; there are create, attach, either".
std::string to_string(const PortConfigError& error);

}  // namespace tunport
