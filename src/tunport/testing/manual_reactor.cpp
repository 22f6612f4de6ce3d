#include "tunport/testing/manual_reactor.hpp"

#include <algorithm>
#include <stdexcept>

namespace tunport {
namespace {
constexpr int most_rounds = 100'000;
}

std::size_t ManualReactor::run_ready() {
  std::size_t done = 0;
  for (int round = 0; round < most_rounds; ++round) {
    const std::size_t calls = run_once(Duration::zero());
    if (calls == 0) return done;
    done += calls;
  }
  throw std::runtime_error{"ManualReactor: the loop spins"};
}

std::size_t ManualReactor::advance(Duration by) {
  const TimePoint target = now_ + by;
  std::size_t done = run_ready();
  while (next_deadline() <= target) {
    now_ = std::max(now_, next_deadline());
    done += run_ready();
  }
  now_ = target;
  return done + run_ready();
}

}  // namespace tunport
