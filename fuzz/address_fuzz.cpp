// Text to addresses: what parses prints, and what was printed parses to the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tunport/wire/address.hpp"

namespace {

template <typename Value>
void round_trip(std::string_view text) {
  const auto value = Value::parse(text);
  if (value && Value::parse(to_string(*value)) != value) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  round_trip<tunport::MacAddress>(text);
  round_trip<tunport::IpAddress>(text);
  round_trip<tunport::IpPrefix>(text);
  round_trip<tunport::Endpoint>(text);
  return 0;
}
