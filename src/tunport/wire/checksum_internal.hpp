#pragma once
/// The ways of summing words: checksum.cpp uses the best, the tests all of them.

#include <array>
#include <cstddef>
#include <cstdint>

namespace tunport::detail {

/// A way of summing words (`sum_words`). `out` and `data` do not overlap.
struct Summing {
  const char* name;
  bool (*is_possible)();  ///< on this machine
  std::uint64_t (*sum)(const std::byte* data, std::size_t size);
  std::uint64_t (*sum_and_copy)(std::byte* out, const std::byte* data, std::size_t size);
};

#if defined(__x86_64__) && defined(__GNUC__)
inline constexpr std::size_t number_of_ways = 3;
#else
inline constexpr std::size_t number_of_ways = 1;
#endif

/// All ways: the first possible way is the best, and the last is always possible.
extern const std::array<Summing, number_of_ways> ways_of_summing;

}  // namespace tunport::detail
