#pragma once
/// A reactor in virtual time: tests move the clock, and hours pass at once.

#include "tunport/event/poll_reactor.hpp"

namespace tunport {

/// A `PollReactor` that never waits: the clock moves only by `advance`.
/// `clock.advance(std::chrono::minutes{1});` runs the timers of the next minute, in order.
class ManualReactor final : public PollReactor {
 public:
  TimePoint now() const override { return now_; }

  /// Runs ready handlers, and handlers made ready by them, until no handler is ready. Does not wait. Returns
  /// the number of calls. Throws std::runtime_error after 100,000 rounds: the loop spins.
  std::size_t run_ready();
  /// Moves the clock by `by`, with a stop at each deadline, and runs ready handlers at each stop and at the
  /// end. Returns the number of calls. Throws as `run_ready`.
  std::size_t advance(Duration by);

 private:
  // Not the epoch: a time never set differs from now.
  TimePoint now_{std::chrono::hours{1}};
};

}  // namespace tunport
