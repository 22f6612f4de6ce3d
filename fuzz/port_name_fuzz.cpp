// Text to the configuration of a port: a configuration prints to text of the same configuration, and an error
// tells a part of the text with its place.
#include <cstdint>
#include <string>
#include <string_view>

#include "tunport/port/port_config.hpp"

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tunport;
  using fuzz::require;
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const PortConfigResult result = PortConfig::parse(text);
  if (!result.config) {
    const PortConfigError& error = result.error;
    require(!error.problem.empty() && !to_string(error).empty());
    require(error.position <= text.size());
    require(text.substr(error.position).starts_with(error.part));
    return 0;
  }
  const PortConfig& config = *result.config;
  require(PortConfig::parse(to_string(config)).config == config);
  const PortOptions options = config.options();
  require(options.interface == config.interface && options.spin == config.spin);
  require(config.spin.count() == 0 || config.moderation.count() == 0);
  return 0;
}
