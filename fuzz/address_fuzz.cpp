// Text to addresses: a parsed address prints to text that parses to the same address.
#include <cstdint>
#include <string_view>

#include "tunport/wire/address.hpp"

#include "input.hpp"

namespace {

template <typename Value>
void round_trip(std::string_view text) {
  const auto value = Value::parse(text);
  if (value) tunport::fuzz::require(Value::parse(to_string(*value)) == value);
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
