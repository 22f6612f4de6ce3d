#include "tunport/wire/checksum.hpp"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/wire/checksum_internal.hpp"

namespace tunport {
namespace {

/// RFC 1071 4.1, word by word.
std::uint16_t naive_checksum(Bytes bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(load_u8(bytes, i) << 8);
    if (i + 1 < bytes.size()) sum += load_u8(bytes, i + 1);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

std::vector<std::byte> random_bytes(std::size_t size, std::uint32_t seed) {
  std::mt19937 random{seed};
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(InternetChecksum, OfTheExampleOfRfc1071) {
  const std::uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(Checksum{}.add(std::as_bytes(std::span{example})).fold(), 0xddf2);
  EXPECT_EQ(internet_checksum(std::as_bytes(std::span{example})), 0x220d);
}

TEST(InternetChecksum, IsTheNaiveOneAtEveryLengthAndAlignment) {
  const auto buffer = random_bytes(4096 + 64, 1);
  for (std::size_t length = 0; length <= 4096; ++length) {
    const auto bytes = Bytes{buffer}.subspan(length % 61, length);
    ASSERT_EQ(internet_checksum(bytes), naive_checksum(bytes)) << length;
  }
  for (std::size_t at = 0; at < 64; ++at)
    for (std::size_t length = 0; length < 200; ++length) {
      const auto bytes = Bytes{buffer}.subspan(at, length);
      ASSERT_EQ(internet_checksum(bytes), naive_checksum(bytes)) << at << ' ' << length;
    }
}

TEST(InternetChecksum, EachWayOfSummingIsTheNaiveOne) {
  const auto buffer = random_bytes(1024 + 64, 5);
  for (const auto& way : detail::ways_of_summing) {
    if (!way.is_possible()) continue;
    for (std::size_t length = 0; length <= 1024; ++length) {
      const auto bytes = Bytes{buffer}.subspan(length % 61, length);
      std::vector<std::byte> copy(length + 2, std::byte{0xee});
      for (const std::uint64_t sum :
           {way.sum(bytes.data(), length), way.sum_and_copy(copy.data() + 1, bytes.data(), length)}) {
        ASSERT_LT(sum, std::uint64_t{1} << 34) << way.name << length;
        const std::uint16_t folded = detail::fold16(sum);
        const bool swap = std::endian::native == std::endian::little;
        ASSERT_EQ(static_cast<std::uint16_t>(~(swap ? byteswap(folded) : folded)), naive_checksum(bytes))
            << way.name << length;
      }
      ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), copy.begin() + 1)) << way.name << length;
      ASSERT_EQ(copy.front(), std::byte{0xee}) << way.name << length;
      ASSERT_EQ(copy.back(), std::byte{0xee}) << way.name << length;
    }
  }
}

TEST(InternetChecksum, CarriesAreNotLost) {
  for (const int fill : {0x00, 0x01, 0x80, 0xfe, 0xff})
    for (const std::size_t size : {1U, 2U, 63U, 64U, 1500U, 65535U, 65536U, 1U << 20}) {
      const std::vector<std::byte> bytes(size, static_cast<std::byte>(fill));
      EXPECT_EQ(internet_checksum(bytes), naive_checksum(bytes)) << fill << ' ' << size;
    }
}

TEST(Checksum, OfPartsIsThatOfTheWhole) {
  const auto buffer = random_bytes(300, 2);
  const std::uint16_t whole = naive_checksum(buffer);
  for (std::size_t first = 0; first <= buffer.size(); ++first)
    ASSERT_EQ(Checksum{}.add(Bytes{buffer}.first(first)).add(Bytes{buffer}.subspan(first)).finish(), whole)
        << first;

  std::mt19937 random{3};
  for (int round = 0; round < 2000; ++round) {
    Checksum checksum;
    for (Bytes rest{buffer}; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(random() % 90, rest.size());
      checksum.add(rest.first(size));
      rest = rest.subspan(size);
    }
    ASSERT_EQ(checksum.finish(), whole) << round;
  }
}

TEST(Checksum, PseudoHeaderIsThatOfTheRfcs) {
  // The pseudo-headers as they are drawn: RFC 768, and RFC 8200 8.1.
  const auto data = random_bytes(70001, 4);
  for (const std::uint32_t length : {8U, 9U, 65535U, 70001U}) {
    std::vector<std::byte> drawn(40 + length);
    const auto v6_a = Ipv6Address::load(data, 0);
    const auto v6_b = Ipv6Address::load(data, 16);
    v6_a.store(drawn, 0);
    v6_b.store(drawn, 16);
    store_be32(drawn, 32, length);
    store_be32(drawn, 36, 17);
    std::copy_n(data.begin(), length, drawn.begin() + 40);
    EXPECT_EQ(Checksum{}.add_pseudo_header(v6_a, v6_b, 17, length).add(Bytes{data}.first(length)).finish(),
              naive_checksum(drawn));
  }
  for (const std::uint16_t length : {std::uint16_t{8}, std::uint16_t{65535}}) {
    std::vector<std::byte> drawn(12 + length);
    const auto v4_a = Ipv4Address::load(data, 0);
    const auto v4_b = Ipv4Address::load(data, 4);
    v4_a.store(drawn, 0);
    v4_b.store(drawn, 4);
    store_be16(drawn, 8, 17);
    store_be16(drawn, 10, length);
    std::copy_n(data.begin(), length, drawn.begin() + 12);
    EXPECT_EQ(Checksum{}.add_pseudo_header(v4_a, v4_b, 17, length).add(Bytes{data}.first(length)).finish(),
              naive_checksum(drawn));
  }
}

}  // namespace
}  // namespace tunport
