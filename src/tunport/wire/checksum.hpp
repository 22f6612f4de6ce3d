#pragma once
/// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
///
///   +--------+--------+--------+--------+ - - - +--------+
///   |     word 0      |     word 1      |       | last,0 |   an odd last byte is the high half of a word
///   +--------+--------+--------+--------+ - - - +--------+
///
/// Three properties carry the implementation. The sum does not depend on byte order: the sum of swapped words
/// is the swapped sum (section 2 (B)). So words are read in the order of memory, at any width, and swapped
/// once at the end. 2^16 = 1 in one's complement, so carries are gathered in 64 bits and folded late. A part
/// at an odd offset has each byte in the opposite half of a word: the part's sum is swapped.

#include <bit>
#include <cstdint>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

namespace detail {

/// The sum of the words in the order of memory, less than 2^34; `sum_and_copy_words` also copies them to
/// `out`.
std::uint64_t sum_words(Bytes bytes);
std::uint64_t sum_and_copy_words(MutableBytes out, Bytes bytes);

/// A sum folded to 16 bits; 0 only for 0. The halves are added in the upper half, and the lower half carries.
constexpr std::uint16_t fold16(std::uint32_t sum) {
  return static_cast<std::uint16_t>((sum + std::rotl(sum, 16)) >> 16);
}
constexpr std::uint16_t fold16(std::uint64_t sum) {
  return fold16(static_cast<std::uint32_t>((sum + std::rotl(sum, 32)) >> 32));
}

}  // namespace detail

/// A checksum over consecutive parts, also of odd length.
class Checksum {
 public:
  /// Adds the next bytes.
  Checksum& add(Bytes bytes) { return add_native(detail::sum_words(bytes), bytes.size()); }
  /// Adds the pseudo-header of UDP and TCP: RFC 768 for IPv4, RFC 8200 8.1 for IPv6. `length` counts the
  /// transport header and the payload. Precondition: both addresses are of the same family, and the bytes
  /// added before are of even number.
  Checksum& add_pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                              std::uint32_t length);
  /// The sum, folded to 16 bits and not complemented: 0xffff over bytes with a right checksum among them.
  std::uint16_t fold() const { return network_order(detail::fold16(sum_)); }
  /// The checksum for the header, in host order: 0 over bytes with a right checksum among them.
  std::uint16_t finish() const { return static_cast<std::uint16_t>(~fold()); }

 private:
  Checksum& add_native(std::uint64_t sum, std::size_t size) {
    sum_ += odd_ ? byteswap(detail::fold16(sum)) : sum;
    odd_ ^= size % 2 != 0;
    return *this;
  }

  std::uint64_t sum_ = 0;  // of words in the order of memory, at most 2^30 parts
  bool odd_ = false;       // the number of bytes so far is odd
};

/// The checksum of `bytes`, in host order.
inline std::uint16_t internet_checksum(Bytes bytes) { return Checksum{}.add(bytes).finish(); }

}  // namespace tunport
