#pragma once
/// Common parts of the fuzzers: a reader of the input, and a check that ends the run.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tunport/base/bytes.hpp"

namespace tunport::fuzz {

/// Ends the run unless `holds`, and prints the place of the call. The fuzzer keeps the input.
inline void require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: does not hold\n", file, line);
  std::abort();
}

/// The input, read from the front. Numbers are zero behind the end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : bytes_{std::as_bytes(std::span{data, size})} {}

  bool empty() const { return bytes_.empty(); }
  std::uint8_t u8() {
    if (bytes_.empty()) return 0;
    const std::uint8_t value = load_u8(bytes_, 0);
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint16_t u16() {
    const unsigned high = u8();
    return static_cast<std::uint16_t>(high << 8 | u8());
  }
  /// The next bytes, at most `size`, in separate memory: a sanitizer sees the end.
  std::vector<std::byte> take(std::size_t size) {
    const Bytes front = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(front.size());
    return {front.begin(), front.end()};
  }
  std::vector<std::byte> rest() { return take(bytes_.size()); }

 private:
  Bytes bytes_;
};

}  // namespace tunport::fuzz
