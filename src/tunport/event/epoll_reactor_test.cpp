#include "tunport/event/epoll_reactor.hpp"

#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>

#include "support/probe.hpp"

namespace tunport {
namespace {

bool is_ready(const EpollReactor& reactor, int milliseconds = 0) {
  pollfd entry{reactor.fileno(), POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

TEST(EpollReactor, TheDescriptorIsReadableWhileThereIsWork) {
  EpollReactor reactor;
  EXPECT_FALSE(is_ready(reactor));
  SocketPair pair;
  Probe probe{reactor, pair.near.get()};
  probe.on_read = [&] { probe.take(); };
  pair.send();
  EXPECT_FALSE(is_ready(reactor)) << "not wanted";
  probe.start_reading();
  EXPECT_TRUE(is_ready(reactor)) << "a change outside of run_ready is told at once";
  EXPECT_EQ(reactor.run_ready(), 1U);
  EXPECT_FALSE(is_ready(reactor));
  EXPECT_EQ(reactor.run_ready(), 0U);
}

TEST(EpollReactor, TimersAndPostsWakeTheOtherLoop) {
  EpollReactor reactor;
  int runs = 0;
  const auto timer = reactor.call_later(milliseconds{5}, [&] { ++runs; });
  EXPECT_FALSE(is_ready(reactor));
  EXPECT_TRUE(is_ready(reactor, 5000));
  reactor.run_ready();
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(is_ready(reactor));
  std::thread other{[&] { reactor.post([&] { ++runs; }); }};
  EXPECT_TRUE(is_ready(reactor, 5000));
  other.join();
  reactor.run_ready();
  EXPECT_EQ(runs, 2);
  EXPECT_FALSE(is_ready(reactor));
}

TEST(EpollReactor, AnEarlierTimerIsNotLate) {
  EpollReactor reactor;
  bool ran = false;
  const auto late = reactor.call_later(std::chrono::hours{1}, [] {});
  const auto early = reactor.call_later(milliseconds{1}, [&] { ran = true; });
  EXPECT_TRUE(is_ready(reactor, 5000));
  reactor.run_ready();
  EXPECT_TRUE(ran);
  EXPECT_FALSE(is_ready(reactor, 20));
}

TEST(EpollReactor, ATimerOfAHandlerIsArmed) {
  EpollReactor reactor;
  Reactor::Timer second;
  bool ran = false;
  const auto first = reactor.call_later(
      milliseconds{1}, [&] { second = reactor.call_later(milliseconds{1}, [&] { ran = true; }); });
  for (int turns = 0; turns < 100 && !ran; ++turns)
    if (is_ready(reactor, 50)) reactor.run_ready();
  EXPECT_TRUE(ran);
}

TEST(EpollReactor, GoesOnAfterAnException) {
  EpollReactor reactor;
  int runs = 0;
  reactor.post([] { throw std::runtime_error("no"); });
  reactor.post([&] { ++runs; });
  EXPECT_THROW(reactor.run_ready(), std::runtime_error);
  EXPECT_TRUE(is_ready(reactor)) << "the rest is still there";
  reactor.run_ready();
  EXPECT_EQ(runs, 1);
}

TEST(EpollReactor, RunsByItselfToo) {
  EpollReactor reactor;
  int runs = 0;
  const auto timer = reactor.call_later(milliseconds{1}, [&] { ++runs; });
  reactor.run();
  EXPECT_EQ(runs, 1);
}

TEST(EpollReactor, ACallbackMayRunTheLoop) {
  EpollReactor reactor;
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

TEST(EpollReactor, ARemovedDescriptorIsNotCalledForEarlierEvents) {
  EpollReactor reactor;
  SocketPair first;
  SocketPair second;
  Probe a{reactor, first.near.get()};
  Probe b{reactor, second.near.get()};
  a.on_read = [&] { b.detach(); };
  b.on_read = [&] { a.detach(); };
  a.start_reading();
  b.start_reading();
  first.send();
  second.send();
  reactor.run_once(Duration::zero());
  EXPECT_EQ(a.reads + b.reads, 1) << "the second was removed by the first";
}

TEST(EpollReactor, AWaitEndsAtTheTimerOrBefore) {
  EpollReactor reactor;
  bool ran = false;
  const auto timer = reactor.call_later(milliseconds{5}, [&] { ran = true; });
  reactor.run_once(Duration::zero());
  EXPECT_FALSE(ran);
  for (int i = 0; i < 100 && !ran; ++i) reactor.run_once(std::chrono::hours{1});
  EXPECT_TRUE(ran);
  EXPECT_EQ(reactor.run_once(milliseconds{1}), 0U) << "nothing comes: the time ends the wait";
}

}  // namespace
}  // namespace tunport
