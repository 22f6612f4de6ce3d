#include <gtest/gtest.h>

#include "tunport/base/token_bucket_internal.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;

TEST(TokenBucket, AdmitsABurstThenTheRate) {
  TokenBucket bucket{10, 3};
  const auto start = TokenBucket::TimePoint{} + 1h;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(start)) << i;
  EXPECT_FALSE(bucket.take(start));
  EXPECT_FALSE(bucket.take(start + 99ms));
  EXPECT_TRUE(bucket.take(start + 200ms));
}

TEST(TokenBucket, NeverSavesUpMoreThanTheBurst) {
  TokenBucket bucket{10, 2};
  const auto start = TokenBucket::TimePoint{} + 1h;
  EXPECT_TRUE(bucket.take(start));
  EXPECT_TRUE(bucket.take(start + 1h));
  EXPECT_TRUE(bucket.take(start + 1h));
  EXPECT_FALSE(bucket.take(start + 1h));
}

TEST(TokenBucket, AClockThatGoesBackTakesNothingAway) {
  TokenBucket bucket{10, 2};
  const auto start = TokenBucket::TimePoint{} + 1h;
  EXPECT_TRUE(bucket.take(start));
  EXPECT_TRUE(bucket.take(start - 1s));
  EXPECT_FALSE(bucket.take(start - 1s));
}

}  // namespace
}  // namespace tunport
