#pragma once
/// A rate limit: a number of events at once, and a number per second.

#include <algorithm>
#include <chrono>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// Admits `burst` events at once and `per_second` in the long run. The caller gives the time, so virtual time
/// works as well.
class TokenBucket {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  TokenBucket(double per_second, double burst) : per_second_{per_second}, burst_{burst}, tokens_{burst} {}

  /// Takes a token for an event at `now`. False without a token.
  bool take(TimePoint now) {
    if (last_ == TimePoint{}) last_ = now;
    const double seconds = std::chrono::duration<double>(now - last_).count();
    tokens_ = std::min(burst_, tokens_ + std::max(0.0, seconds) * per_second_);
    last_ = now;
    if (tokens_ < 1.0) return false;
    tokens_ -= 1.0;
    return true;
  }

 private:
  double per_second_;
  double burst_;
  double tokens_;
  TimePoint last_{};
};

}  // namespace tunport
