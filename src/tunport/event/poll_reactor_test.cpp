#include "tunport/event/poll_reactor.hpp"

#include <memory>
#include <thread>

#include "support/probe.hpp"

namespace tunport {
namespace {

TEST(PollReactor, RunsUntilNothingIsLeft) {
  PollReactor reactor;
  reactor.run();  // at once
  SocketPair pair;
  auto probe = std::make_unique<Probe>(reactor, pair.near.get());
  std::vector<int> order;
  const auto timer = reactor.call_later(milliseconds{5}, [&] {
    order.push_back(2);
    probe.reset();
  });
  reactor.post([&] { order.push_back(1); });
  reactor.run();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(PollReactor, StopEndsRun) {
  PollReactor reactor;
  SocketPair pair;
  const Probe probe{reactor, pair.near.get()};
  std::thread other{[&] { reactor.post([&] { reactor.stop(); }); }};
  reactor.run();
  other.join();
  reactor.post([&] { reactor.stop(); });
  reactor.run();  // again
}

TEST(PollReactor, APostWakesALongWait) {
  PollReactor reactor;
  std::thread other{[&] {
    std::this_thread::sleep_for(milliseconds{20});
    reactor.post([] {});
  }};
  const TimePoint start = reactor.now();
  while (reactor.run_once(std::chrono::seconds{20}) == 0) {
  }
  EXPECT_LT(reactor.now() - start, std::chrono::seconds{10});
  other.join();
}

/// The interior, which derived reactors use.
struct OpenReactor : PollReactor {
  using PollReactor::next_deadline;
  using PollReactor::run_due;
  using PollReactor::wanted;
};

TEST(PollReactor, WantedFollowsTheInterest) {
  OpenReactor reactor;
  SocketPair pair;
  Probe probe{reactor, pair.near.get()};
  const auto wanted = [&] {
    for (const pollfd& entry : reactor.wanted())
      if (entry.fd == pair.near.get()) return int{entry.events};
    return -1;
  };
  EXPECT_EQ(wanted(), POLLPRI) << "watched for errors: with no event the kernel would not tell of them";
  probe.start_reading();
  EXPECT_EQ(wanted(), POLLPRI | POLLIN);
  probe.start_writing();
  EXPECT_EQ(wanted(), POLLPRI | POLLIN | POLLOUT);
  probe.stop_reading();
  EXPECT_EQ(wanted(), POLLPRI | POLLOUT);
  probe.detach();
  EXPECT_EQ(wanted(), -1);
}

TEST(PollReactor, TheNextDeadline) {
  OpenReactor reactor;
  EXPECT_EQ(reactor.next_deadline(), TimePoint::max());
  auto timer = reactor.call_later(std::chrono::hours{1}, [] {});
  EXPECT_GT(reactor.next_deadline(), reactor.now() + std::chrono::minutes{59});
  reactor.post([] {});
  EXPECT_LE(reactor.next_deadline(), reactor.now()) << "something was posted";
  EXPECT_EQ(reactor.run_due(), 1U);
  timer.cancel();
  EXPECT_EQ(reactor.next_deadline(), TimePoint::max());
}

TEST(PollReactor, ACallbackMayRunTheLoop) {
  PollReactor reactor;
  SocketPair pair;
  Probe probe{reactor, pair.near.get()};
  int inner = 0;
  reactor.post([&] { reactor.post([&] { ++inner; }); });
  probe.on_read = [&] {
    probe.take();
    reactor.run_once(Duration::zero());
    reactor.run_once(Duration::zero());
  };
  probe.start_reading();
  pair.send();
  reactor.run_once(Duration::zero());
  EXPECT_EQ(probe.reads, 1);
  EXPECT_EQ(inner, 1);
}

TEST(PollReactor, EachThreadHasADefault) {
  Reactor* const here = &static_cast<Reactor&>(default_reactor());
  EXPECT_EQ(here, &static_cast<Reactor&>(default_reactor()));
  Reactor* there = here;
  std::thread{[&] { there = &static_cast<Reactor&>(default_reactor()); }}.join();
  EXPECT_NE(here, there);
}

}  // namespace
}  // namespace tunport
