#pragma once
/// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
///
///   +--------+--------+--------+--------+ - - - +--------+
///   |     word 0      |     word 1      |       | last,0 |   an odd last byte is the high half of a word
///   +--------+--------+--------+--------+ - - - +--------+
///
/// Three properties carry the implementation. The sum does not depend on byte order: summing swapped words
/// gives the swapped sum (section 2 (B)), so words are read as they lie in memory, as wide as the machine
/// likes, and swapped once at the end. 2^16 = 1 in this arithmetic, so carries may be gathered in 64 bits and
/// folded late. A part that starts at an odd offset has all its bytes in the other half: its sum is swapped.

#include <bit>
#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

namespace detail {

/// The sum of the words as they lie in memory, less than 2^34; `sum_and_copy` copies them to `out` as well.
std::uint64_t sum_words(Bytes bytes);
std::uint64_t sum_and_copy_words(MutableBytes out, Bytes bytes);

/// The same sum in 16 bits: 0 stays 0, anything else stays something else.
constexpr std::uint16_t fold16(std::uint64_t sum) {
  sum = (sum & 0xffffffffU) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

constexpr std::uint16_t swapped(std::uint16_t word) {
  return static_cast<std::uint16_t>(word << 8 | word >> 8);
}

}  // namespace detail

/// A checksum over several parts, as if they lay one behind the other. Parts may be of odd length.
class Checksum {
 public:
  /// Adds the next bytes.
  Checksum& add(Bytes bytes) { return add_native(detail::sum_words(bytes), bytes.size()); }
  /// Adds the next bytes and copies them to `out`, which costs little more than to copy them. Precondition:
  /// `out.size() >= bytes.size()`, and they do not overlap.
  Checksum& add_and_copy(Bytes bytes, MutableBytes out) {
    return add_native(detail::sum_and_copy_words(out, bytes), bytes.size());
  }
  /// Adds the pseudo-header that UDP and TCP put before theirs: RFC 768 for IPv4, RFC 8200 8.1 for IPv6.
  /// `length` is that of the header and its payload. Precondition: both addresses are of one family, and what
  /// was added before is of even length.
  Checksum& add_pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                              std::uint32_t length);
  /// The sum, folded to 16 bits and not complemented: 0xffff where the checksum was among the bytes and is
  /// right.
  std::uint16_t fold() const { return in_order(detail::fold16(sum_)); }
  /// The checksum, in host order: what belongs into the header. 0 where it was among the bytes and is right.
  std::uint16_t finish() const { return static_cast<std::uint16_t>(~fold()); }

 private:
  /// From the order of memory to a number, or back.
  static constexpr std::uint16_t in_order(std::uint16_t word) {
    return std::endian::native == std::endian::little ? detail::swapped(word) : word;
  }
  Checksum& add_native(std::uint64_t sum, std::size_t size) {
    sum_ += odd_ ? detail::swapped(detail::fold16(sum)) : sum;
    odd_ ^= size % 2 != 0;
    return *this;
  }

  std::uint64_t sum_ = 0;  // of words in the order of memory; 2^30 parts may go in
  bool odd_ = false;       // an odd number of bytes has gone in
};

/// The checksum of `bytes`, in host order.
inline std::uint16_t internet_checksum(Bytes bytes) { return Checksum{}.add(bytes).finish(); }

}  // namespace tunport
