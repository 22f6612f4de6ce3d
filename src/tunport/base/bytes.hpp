#pragma once
/// Byte spans, and big-endian loads and stores for all headers of packets. The code works byte by byte, so
/// nothing is ever misaligned; compilers turn a load into a single instruction and a byte swap.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// Bytes of another owner, borrowed for the call unless a function documents a longer time.
using Bytes = std::span<const std::byte>;
/// Writable bytes of another owner, borrowed like `Bytes`.
using MutableBytes = std::span<std::byte>;

/// The most parts of a packet in a write.
inline constexpr std::size_t max_write_parts = 16;

/// The number of bytes in all parts.
constexpr std::size_t size_of(std::span<const Bytes> parts) {
  std::size_t size = 0;
  for (const Bytes part : parts) size += part.size();
  return size;
}

/// The byte at `offset`. Precondition: `offset < bytes.size()`.
constexpr std::uint8_t load_u8(Bytes bytes, std::size_t offset) {
  return std::to_integer<std::uint8_t>(bytes[offset]);
}
/// The 16-bit big-endian number at `offset`. Precondition: `offset + 2 <= bytes.size()`.
constexpr std::uint16_t load_be16(Bytes bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(load_u8(bytes, offset) << 8 | load_u8(bytes, offset + 1));
}
/// The 32-bit big-endian number at `offset`. Precondition: `offset + 4 <= bytes.size()`.
constexpr std::uint32_t load_be32(Bytes bytes, std::size_t offset) {
  return static_cast<std::uint32_t>(load_be16(bytes, offset)) << 16 | load_be16(bytes, offset + 2);
}

/// Stores a byte at `offset`. Precondition: `offset < bytes.size()`.
constexpr void store_u8(MutableBytes bytes, std::size_t offset, std::uint8_t value) {
  bytes[offset] = static_cast<std::byte>(value);
}
/// Stores a 16-bit number at `offset`, big-endian. Precondition: `offset + 2 <= bytes.size()`.
constexpr void store_be16(MutableBytes bytes, std::size_t offset, std::uint16_t value) {
  store_u8(bytes, offset, static_cast<std::uint8_t>(value >> 8));
  store_u8(bytes, offset + 1, static_cast<std::uint8_t>(value));
}
/// Stores a 32-bit number at `offset`, big-endian. Precondition: `offset + 4 <= bytes.size()`.
constexpr void store_be32(MutableBytes bytes, std::size_t offset, std::uint32_t value) {
  store_be16(bytes, offset, static_cast<std::uint16_t>(value >> 16));
  store_be16(bytes, offset + 2, static_cast<std::uint16_t>(value));
}

/// The number with reversed bytes.
constexpr std::uint16_t byteswap(std::uint16_t number) {
  return static_cast<std::uint16_t>(number << 8 | number >> 8);
}
/// The number with reversed bytes.
constexpr std::uint32_t byteswap(std::uint32_t number) { return __builtin_bswap32(number); }

/// Converts a number between the byte orders of the machine and the network.
template <class Number>
constexpr Number network_order(Number number) {
  return std::endian::native == std::endian::big ? number : byteswap(number);
}

/// The 16-bit number at `offset`, in the byte order `order`. Precondition: `offset + 2 <= bytes.size()`.
constexpr std::uint16_t load_u16(Bytes bytes, std::size_t offset, std::endian order) {
  const std::uint16_t number = load_be16(bytes, offset);
  return order == std::endian::big ? number : byteswap(number);
}
/// Stores a 16-bit number at `offset`, in the byte order `order`. Precondition: `offset + 2 <= bytes.size()`.
constexpr void store_u16(MutableBytes bytes, std::size_t offset, std::endian order, std::uint16_t value) {
  store_be16(bytes, offset, order == std::endian::big ? value : byteswap(value));
}

/// The characters of `text` as bytes, borrowed from the text.
inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span{text.data(), text.size()}); }
/// The bytes as characters, borrowed from the bytes.
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace tunport
