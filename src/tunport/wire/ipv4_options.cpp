#include <algorithm>
#include <optional>

#include "tunport/wire/ipv4_options_internal.hpp"

namespace tunport::ipv4_options {
namespace {

constexpr std::size_t route_header = 3;  // type, length, pointer

/// Takes the next option off the front of `options`; nothing at the end of the list. An option with a wrong
/// length counts as its type alone, and as the last: a source route cut off is still a source route.
std::optional<Bytes> take(Bytes& options) {
  while (!options.empty() && load_u8(options, 0) == type::no_operation) options = options.subspan(1);
  if (options.empty() || load_u8(options, 0) == type::end_of_list) return std::nullopt;
  const std::size_t length = options.size() > 1 ? load_u8(options, 1) : 0;
  const bool whole = length > 1 && length <= options.size();
  const Bytes option = options.first(whole ? length : 1);
  options = whole ? options.subspan(length) : Bytes{};
  return option;
}

/// True if the option is a route with whole addresses, and a pointer to an address or beyond.
bool is_route(Bytes option) {
  if (option.size() < route_header || option.size() % Ipv4Address::size != route_header) return false;
  const std::size_t pointer = load_u8(option, 2);
  return pointer > route_header && pointer % Ipv4Address::size == 0;
}

/// True if no place of the route is left. Precondition: `is_route(option)`.
bool is_spent(Bytes option) { return load_u8(option, 2) > option.size(); }

}  // namespace

bool has_unspent_source_route(Bytes options) {
  while (const auto option = take(options)) {
    const std::uint8_t kind = load_u8(*option, 0);
    if (kind != type::loose_source_route && kind != type::strict_source_route) continue;
    if (!is_route(*option) || !is_spent(*option)) return true;
  }
  return false;
}

std::size_t record_route(Bytes options, Ipv4Address station, MutableBytes out) {
  while (const auto option = take(options)) {
    if (load_u8(*option, 0) != type::record_route) continue;
    if (!is_route(*option)) return 0;
    const std::size_t size = (option->size() + 3) / 4 * 4;
    std::fill_n(std::ranges::copy(*option, out.begin()).out, size - option->size(), std::byte{0});
    if (is_spent(*option)) return size;
    const std::uint8_t pointer = load_u8(*option, 2);
    station.store(out, pointer - std::size_t{1});
    store_u8(out, 2, static_cast<std::uint8_t>(pointer + Ipv4Address::size));
    return size;
  }
  return 0;
}

}  // namespace tunport::ipv4_options
