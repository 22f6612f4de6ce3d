/// Three ways of summing. The first sum of a process picks the way:
///
///   - everywhere: 64-bit words, each as the sum of its halves.
///   - AVX2: vectors of words. A rest shorter than a vector is loaded as a whole vector that overlaps the one
///     before, with the bytes of the overlap masked.
///   - AVX-512: vectors twice as long, with masked loads and stores: one loop and no tail.
///
/// A sum with a copy costs little more than a copy (bench/micro_bench.cpp). Clones made by the compiler
/// (`target_clones`) reach 0.4 of the speed of reading, these ways 0.9: a clone has one body for all widths,
/// which for AVX-512 loads each word twice, and no masks.

#include "tunport/wire/checksum.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "tunport/wire/checksum_internal.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#define TUNPORT_AVX 1
// GCC 12 warns of values that its own header leaves undefined on purpose (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace tunport {
namespace detail {
namespace {

/// A 64-bit word as the sum of its halves: 33 bits, so that 2^31 words sum without loss.
constexpr std::uint64_t halves(std::uint64_t word) { return (word & 0xffffffffU) + (word >> 32); }

std::uint64_t portable_sum(const std::byte* data, std::size_t size) {
  std::uint64_t sum = 0;
  for (; size >= 8; size -= 8, data += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, 8);
    sum += halves(word);
  }
  // The rest in fixed sizes, each a single load; a copy of `size` bytes is a loop and a stall.
  if ((size & 4) != 0) {
    std::uint32_t word = 0;
    std::memcpy(&word, data, 4);
    sum += word;
    data += 4;
  }
  if ((size & 2) != 0) {
    std::uint16_t word = 0;
    std::memcpy(&word, data, 2);
    sum += word;
    data += 2;
  }
  if ((size & 1) != 0) {
    // The first half of a word; the second half is zero.
    std::uint16_t word = 0;
    std::memcpy(&word, data, 1);
    sum += word;
  }
  return halves(sum);
}

std::uint64_t portable_sum_and_copy(std::byte* out, const std::byte* data, std::size_t size) {
  std::copy_n(data, size, out);
  return portable_sum(data, size);
}

#ifdef TUNPORT_AVX

// Both vector ways sum 64-bit words w = 2^32 h + l. Adding w and h takes an instruction less than adding l
// and h: the sum of all l is the sum of all w less 2^32 times the sum of all h. Each sum is right modulo
// 2^64, and the sum of the l stays below for 2^32 words. The code stands here twice, because a function has
// the vectors of a single target.

#define TUNPORT_TARGET __attribute__((target("avx2")))

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0;
}

namespace avx2 {

using Vector = std::uint64_t __attribute__((vector_size(32)));
constexpr std::size_t width = sizeof(Vector);
constexpr std::size_t worth_aligning = 16 * width;

class Lanes {
 public:
  TUNPORT_TARGET void add(const Vector& words) {
    words_ += words;
    highs_ += words >> 32;
  }
  TUNPORT_TARGET void add(const Lanes& other) {
    words_ += other.words_;
    highs_ += other.highs_;
  }
  TUNPORT_TARGET std::uint64_t sum() const {
    const Vector lanes = words_ - (highs_ << 32) + highs_;
    const auto pair =
        __builtin_shufflevector(lanes, lanes, 0, 1) + __builtin_shufflevector(lanes, lanes, 2, 3);
    return halves(pair[0] + pair[1]);
  }

 private:
  Vector words_{};
  Vector highs_{};
};

struct alignas(32) Masks {
  std::uint8_t bytes[3 * width];
};

constexpr Masks masks = [] {
  Masks all{};
  std::fill(all.bytes + width, all.bytes + 2 * width, std::uint8_t{0xff});
  return all;
}();

/// Loads once: GCC 12 would load for each use.
TUNPORT_TARGET inline void load(const void* from, Vector& vector) {
  std::memcpy(&vector, from, sizeof vector);
  asm("" : "+x"(vector));
}
/// Makes all bytes of a vector zero, except the first (or the last) `count`.
TUNPORT_TARGET inline void keep_first(std::size_t count, Vector& vector) {
  Vector mask;
  load(masks.bytes + 2 * width - count, mask);
  vector &= mask;
}
TUNPORT_TARGET inline void keep_last(std::size_t count, Vector& vector) {
  Vector mask;
  load(masks.bytes + count, mask);
  vector &= mask;
}

TUNPORT_TARGET std::uint64_t sum(const std::byte* data, std::size_t size) {
  if (size < width) return portable_sum(data, size);
  Lanes lanes;
  Lanes others;  // two chains of additions wait less than a single chain
  Vector vector;
  // Loads across cache lines take twice as long. After an odd first part all bytes would be in the opposite
  // halves of words.
  if (const std::size_t first = -reinterpret_cast<std::uintptr_t>(data) % width;
      size >= worth_aligning && first % 2 == 0) {
    load(data, vector);
    keep_first(first, vector);
    lanes.add(vector);
    data += first;
    size -= first;
  }
  for (; size >= 2 * width; size -= 2 * width, data += 2 * width) {
    load(data, vector);
    lanes.add(vector);
    load(data + width, vector);
    others.add(vector);
  }
  if (size >= width) {
    load(data, vector);
    lanes.add(vector);
    size -= width;
    data += width;
  }
  const std::size_t even = size & ~std::size_t{1};  // each byte keeps its half of a word
  load(data + even - width, vector);
  keep_last(even, vector);
  others.add(vector);
  lanes.add(others);
  return lanes.sum() + (size != even ? portable_sum(data + even, 1) : 0);
}

TUNPORT_TARGET std::uint64_t sum_and_copy(std::byte* out, const std::byte* data, std::size_t size) {
  if (size < width) return portable_sum_and_copy(out, data, size);
  Lanes lanes;
  Lanes others;
  Vector vector;
  // Stores across cache lines cost more than such loads. After an odd first part all bytes would be in the
  // opposite halves of words.
  if (const std::size_t first = -reinterpret_cast<std::uintptr_t>(out) % width; first % 2 == 0) {
    load(data, vector);
    std::memcpy(out, &vector, sizeof vector);
    keep_first(first, vector);
    lanes.add(vector);
    data += first;
    out += first;
    size -= first;
  }
  for (; size >= 2 * width; size -= 2 * width, data += 2 * width, out += 2 * width) {
    load(data, vector);
    std::memcpy(out, &vector, sizeof vector);
    lanes.add(vector);
    load(data + width, vector);
    std::memcpy(out + width, &vector, sizeof vector);
    others.add(vector);
  }
  if (size >= width) {
    load(data, vector);
    std::memcpy(out, &vector, sizeof vector);
    lanes.add(vector);
    size -= width;
    data += width;
    out += width;
  }
  const std::size_t even = size & ~std::size_t{1};
  load(data + even - width, vector);
  std::memcpy(out + even - width, &vector, sizeof vector);
  keep_last(even, vector);
  others.add(vector);
  lanes.add(others);
  return lanes.sum() + (size != even ? portable_sum_and_copy(out + even, data + even, 1) : 0);
}

}  // namespace avx2

#undef TUNPORT_TARGET
#define TUNPORT_TARGET __attribute__((target("avx512f,avx512bw,bmi2")))

bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("bmi2") != 0;
}

namespace avx512 {

using Vector = std::uint64_t __attribute__((vector_size(64)));
constexpr std::size_t block_size = sizeof(Vector);

class Lanes {
 public:
  TUNPORT_TARGET void add(Vector words) {
    words_ += words;
    highs_ += words >> 32;
  }
  TUNPORT_TARGET void add(const Lanes& other) {
    words_ += other.words_;
    highs_ += other.highs_;
  }
  TUNPORT_TARGET std::uint64_t sum() const {
    const Vector lanes = words_ - (highs_ << 32) + highs_;
    std::uint64_t result = 0;
    for (std::size_t i = 0; i < sizeof lanes / sizeof lanes[0]; ++i) result += lanes[i];
    return halves(result);
  }

 private:
  Vector words_{};
  Vector highs_{};
};

/// Loads 64 bytes, once: GCC 12 would load for each use.
TUNPORT_TARGET Vector load_block(const std::byte* data) {
  Vector block;
  std::memcpy(&block, data, sizeof block);
  asm("" : "+v"(block));
  return block;
}

TUNPORT_TARGET __mmask64 first_bytes(std::size_t size) {
  return _bzhi_u64(~0ULL, static_cast<unsigned>(size));
}

/// Loads less than 64 bytes; the rest of the vector is zero.
TUNPORT_TARGET Vector load_rest(const std::byte* data, std::size_t size) {
  return reinterpret_cast<Vector>(_mm512_maskz_loadu_epi8(first_bytes(size), data));
}

TUNPORT_TARGET std::uint64_t sum(const std::byte* data, std::size_t size) {
  Lanes lanes;
  if (size >= 2 * block_size) {
    // Two chains of additions wait less than a single chain.
    Lanes others;
    for (; size >= 2 * block_size; size -= 2 * block_size, data += 2 * block_size) {
      lanes.add(load_block(data));
      others.add(load_block(data + block_size));
    }
    lanes.add(others);
  }
  if (size >= block_size) {
    lanes.add(load_block(data));
    size -= block_size;
    data += block_size;
  }
  lanes.add(load_rest(data, size));
  return lanes.sum();
}

TUNPORT_TARGET std::uint64_t sum_and_copy(std::byte* out, const std::byte* data, std::size_t size) {
  Lanes lanes;
  const auto copy_less = [&](std::size_t part) TUNPORT_TARGET {
    const Vector block = load_rest(data, part);
    _mm512_mask_storeu_epi8(out, first_bytes(part), reinterpret_cast<__m512i>(block));
    lanes.add(block);
    data += part;
    out += part;
    size -= part;
  };
  // Stores across cache lines cost more than such loads. After an odd first part all bytes would be in the
  // opposite halves of words.
  const std::size_t to_line = -reinterpret_cast<std::uintptr_t>(out) % block_size;
  if (to_line % 2 == 0 && to_line <= size) copy_less(to_line);
  for (; size >= block_size; size -= block_size, data += block_size, out += block_size) {
    const Vector block = load_block(data);
    std::memcpy(out, &block, sizeof block);
    lanes.add(block);
  }
  copy_less(size);
  return lanes.sum();
}

}  // namespace avx512

#undef TUNPORT_TARGET
#endif

// The first sum makes the choice, because sums are made before main, too.
std::uint64_t choose_and_sum(const std::byte* data, std::size_t size);
std::uint64_t choose_sum_and_copy(std::byte* out, const std::byte* data, std::size_t size);

constinit std::atomic<decltype(&choose_and_sum)> chosen_sum{choose_and_sum};
constinit std::atomic<decltype(&choose_sum_and_copy)> chosen_sum_and_copy{choose_sum_and_copy};

const Summing& choose() {
  const auto* best = std::find_if(ways_of_summing.begin(), ways_of_summing.end(),
                                  [](const Summing& way) { return way.is_possible(); });
  chosen_sum.store(best->sum, std::memory_order_relaxed);
  chosen_sum_and_copy.store(best->sum_and_copy, std::memory_order_relaxed);
  return *best;
}

std::uint64_t choose_and_sum(const std::byte* data, std::size_t size) { return choose().sum(data, size); }
std::uint64_t choose_sum_and_copy(std::byte* out, const std::byte* data, std::size_t size) {
  return choose().sum_and_copy(out, data, size);
}

}  // namespace

constinit const std::array<Summing, number_of_ways> ways_of_summing{{
#ifdef TUNPORT_AVX
    {"avx512", has_avx512, avx512::sum, avx512::sum_and_copy},
    {"avx2", has_avx2, avx2::sum, avx2::sum_and_copy},
#endif
    {"portable", [] { return true; }, portable_sum, portable_sum_and_copy},
}};

std::uint64_t sum_words(Bytes bytes) {
  return chosen_sum.load(std::memory_order_relaxed)(bytes.data(), bytes.size());
}

std::uint64_t sum_and_copy_words(MutableBytes out, Bytes bytes) {
  return chosen_sum_and_copy.load(std::memory_order_relaxed)(out.data(), bytes.data(), bytes.size());
}

}  // namespace detail

Checksum& Checksum::add_pseudo_header(const IpAddress& source, const IpAddress& destination,
                                      std::uint8_t protocol, std::uint32_t length) {
  std::uint64_t numbers = std::uint64_t{length} + protocol;
  if (source.is_v4()) {
    numbers += std::uint64_t{source.v4().value()} + destination.v4().value();
  } else {
    add(std::as_bytes(std::span{source.v6().octets()}));
    add(std::as_bytes(std::span{destination.v6().octets()}));
  }
  sum_ += network_order(detail::fold16(numbers));
  return *this;
}

}  // namespace tunport
