#include "tunport/testing/manual_reactor.hpp"

#include <stdexcept>

#include "support/probe.hpp"

namespace tunport {
namespace {

TEST(ManualReactor, TimeStandsUntilItIsMoved) {
  ManualReactor clock;
  const TimePoint start = clock.now();
  int calls = 0;
  const auto timer = clock.call_later(std::chrono::hours{10}, [&] { ++calls; });
  std::this_thread::sleep_for(milliseconds{2});
  EXPECT_EQ(clock.run_ready(), 0U);
  EXPECT_EQ(clock.now(), start);
  EXPECT_EQ(clock.advance(std::chrono::hours{10} - milliseconds{1}), 0U);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(clock.advance(milliseconds{1}), 1U);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(clock.now(), start + std::chrono::hours{10});
}

TEST(ManualReactor, EachTimerSeesItsOwnTime) {
  ManualReactor clock;
  const TimePoint start = clock.now();
  std::vector<Duration> seen;
  Reactor::Timer timer;
  std::function<void()> tick = [&] {
    seen.push_back(clock.now() - start);
    timer = clock.call_later(std::chrono::seconds{1}, tick);
  };
  timer = clock.call_later(std::chrono::seconds{1}, tick);
  clock.advance(milliseconds{3500});
  EXPECT_EQ(seen, (std::vector<Duration>{std::chrono::seconds{1}, std::chrono::seconds{2},
                                         std::chrono::seconds{3}}));
  EXPECT_EQ(clock.now(), start + milliseconds{3500});
}

TEST(ManualReactor, RunReadyGoesOnUntilNothingIsLeft) {
  ManualReactor clock;
  int calls = 0;
  std::function<void()> again = [&] {
    if (++calls < 50) clock.post(again);
  };
  clock.post(again);
  EXPECT_EQ(clock.run_ready(), 50U);
  EXPECT_EQ(clock.run_ready(), 0U);
}

TEST(ManualReactor, ALoopThatSpinsIsAnError) {
  ManualReactor clock;
  SocketPair pair;
  Probe probe{clock, pair.near.get()};
  probe.start_reading();
  pair.send();  // and the probe does not receive
  EXPECT_THROW(clock.run_ready(), std::runtime_error);
}

}  // namespace
}  // namespace tunport
