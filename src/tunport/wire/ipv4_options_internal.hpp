#pragma once
/// The options of IPv4 that record or prescribe a route (RFC 791 3.1).
///
///   +--------+--------+---------+---------------+ - - -
///   |  type  | length | pointer | addresses: 4 bytes each
///   +--------+--------+---------+---------------+ - - -
///
/// The length counts all bytes of the option. The pointer counts from 1, and tells the place of the next
/// address: to be recorded (type 7), or to be visited (types 131 and 137). A pointer beyond the length tells
/// that no place is left. Types 0 (end of list) and 1 (no operation) are single bytes.

#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport::ipv4_options {

/// The most bytes of options in a header.
inline constexpr std::size_t max_size = Ipv4Header::max_size - Ipv4Header::size;

/// IP options (IANA, "IP Option Numbers").
namespace type {
inline constexpr std::uint8_t end_of_list = 0;
inline constexpr std::uint8_t no_operation = 1;
inline constexpr std::uint8_t record_route = 7;
inline constexpr std::uint8_t loose_source_route = 131;
inline constexpr std::uint8_t strict_source_route = 137;
}  // namespace type

/// True if a source route has stations left, or is malformed, so that the end of the route is unknown.
bool has_unspent_source_route(Bytes options);

/// Writes the record-route option of `options` to `out`, with `station` in the next free place, and zeros up
/// to a multiple of four bytes. Returns the number of bytes; 0 without the option, or for a malformed option.
/// A full option is written unchanged. Precondition: `out.size() >= max_size >= options.size()`.
std::size_t record_route(Bytes options, Ipv4Address station, MutableBytes out);

}  // namespace tunport::ipv4_options
