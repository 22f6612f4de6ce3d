#pragma once
/// A reactor in virtual time: tests step it, and hours pass in no time.

#include "tunport/event/poll_reactor.hpp"

namespace tunport {

/// Descriptors are waited for as by `PollReactor`, but never for long; the clock moves only when told to.
/// `clock.advance(std::chrono::minutes{1});` runs what is due within that minute, in order.
class ManualReactor final : public PollReactor {
 public:
  TimePoint now() const override { return now_; }

  /// Does what is ready now, and what becomes ready by that, until nothing is left. Does not wait. Returns
  /// how many calls were made. Throws std::runtime_error if there is no end to it: the loop spins.
  std::size_t run_ready();
  /// Moves the clock by `by`, stopping at each deadline on the way to do what is ready there. Returns how
  /// many calls were made.
  std::size_t advance(Duration by);

 private:
  // Not the epoch, so that a time that was never set is not taken for now.
  TimePoint now_{std::chrono::hours{1}};
};

}  // namespace tunport
