#pragma once
/// The contract of every reactor: one suite, instantiated with each.

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <thread>

#include "tunport/event/reactor.hpp"

#include "support/probe.hpp"

namespace tunport {

/// A reactor and the code that runs it.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual Reactor& reactor() = 0;
  /// Does what is ready without waiting for more.
  virtual void turn() = 0;
  /// Lets `time` go by, and does the work that falls due.
  virtual void pass(Duration time) = 0;
};

/// Drives a reactor on a context of Asio. `executor(context)` is where the reactor runs.
template <class Context, class Made, auto executor>
class ContextDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override {
    context_.restart();
    context_.poll();
  }
  void pass(Duration time) override {
    context_.restart();
    context_.run_for(time);
  }

 private:
  Context context_;
  Made reactor_{executor(context_)};
};

struct Kind {
  const char* name;
  std::unique_ptr<Driver> (*make)();
};
std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
template <typename Type>
std::unique_ptr<Driver> make() {
  return std::make_unique<Type>();
}

class ReactorContract : public ::testing::TestWithParam<Kind> {
 protected:
  Reactor& reactor() { return driver_->reactor(); }
  void turn() { driver_->turn(); }
  void pass(Duration time) { driver_->pass(time); }
  /// True as soon as `holds`; false after five seconds.
  bool until(const std::function<bool()>& holds) {
    for (int i = 0; i < 5000 && !holds(); ++i) {
      turn();
      if (!holds()) std::this_thread::sleep_for(milliseconds{1});
    }
    return holds();
  }

 private:
  std::unique_ptr<Driver> driver_ = GetParam().make();
};
TEST_P(ReactorContract, ReadableIsToldWhileReading) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  probe.on_read = [&] { probe.take(); };
  pair.send();
  turn();
  EXPECT_EQ(probe.reads, 0) << "not asked for";
  probe.start_reading();
  turn();
  EXPECT_EQ(probe.reads, 1);
  turn();
  EXPECT_EQ(probe.reads, 1) << "nothing left";
  pair.send();
  turn();
  EXPECT_EQ(probe.reads, 2);
  probe.stop_reading();
  pair.send();
  turn();
  EXPECT_EQ(probe.reads, 2);
  EXPECT_EQ(probe.writes, 0);
  EXPECT_EQ(probe.errors, 0);
}

TEST_P(ReactorContract, WhatIsNotTakenIsToldAgain) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  probe.on_read = [&] {
    if (probe.reads == 3) probe.take();
  };
  probe.start_reading();
  pair.send();
  EXPECT_TRUE(until([&] { return probe.reads == 3; }));
  turn();
  EXPECT_EQ(probe.reads, 3);
}

TEST_P(ReactorContract, PausingAndResumingManyTimes) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  probe.on_read = [&] {
    probe.take();
    probe.stop_reading();
  };
  for (int i = 1; i <= 10; ++i) {
    pair.send();
    probe.start_reading();
    probe.stop_reading();
    turn();
    EXPECT_EQ(probe.reads, i - 1);
    probe.start_reading();
    turn();
    EXPECT_EQ(probe.reads, i);
  }
}

TEST_P(ReactorContract, WritableIsToldWhileWriting) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  turn();
  EXPECT_EQ(probe.writes, 0);
  probe.on_write = [&] { probe.stop_writing(); };
  probe.start_writing();
  turn();
  EXPECT_EQ(probe.writes, 1);
  turn();
  EXPECT_EQ(probe.writes, 1);
  // The socket is full: writable is reported only when there is room again.
  const std::vector<char> filler(4096);
  while (::send(pair.near.get(), filler.data(), filler.size(), MSG_DONTWAIT) > 0) {
  }
  probe.start_writing();
  turn();
  EXPECT_EQ(probe.writes, 1);
  std::vector<char> taken(4096);
  while (::recv(pair.far.get(), taken.data(), taken.size(), 0) > 0) {
  }
  EXPECT_TRUE(until([&] { return probe.writes == 2; }));
}

TEST_P(ReactorContract, AnErrorIsToldInEveryState) {
  for (const bool reading : {false, true}) {
    for (const bool writing : {false, true}) {
      SCOPED_TRACE(testing::Message() << reading << writing);
      SocketPair pair;
      Probe probe{reactor(), pair.near.get()};
      if (reading) probe.start_reading();
      if (writing) probe.start_writing();
      probe.on_write = [&] { probe.stop_writing(); };
      turn();
      probe.on_error = [&] { probe.detach(); };
      pair.break_off();
      EXPECT_TRUE(until([&] { return probe.errors > 0; }));
      turn();
      EXPECT_EQ(probe.errors, 1) << "detached: told once";
      EXPECT_EQ(probe.reads, 0);
    }
  }
}

TEST_P(ReactorContract, AnErrorFromBeforeIsTold) {
  SocketPair pair;
  pair.break_off();
  Probe probe{reactor(), pair.near.get()};
  probe.on_error = [&] { probe.detach(); };
  EXPECT_TRUE(until([&] { return probe.errors == 1; }));
}

TEST_P(ReactorContract, DestroyedInItsOwnCallback) {
  SocketPair pair;
  auto probe = std::make_unique<Probe>(reactor(), pair.near.get());
  probe->on_read = [&] { probe.reset(); };
  probe->start_reading();
  probe->start_writing();
  pair.send();
  EXPECT_TRUE(until([&] { return probe == nullptr; }));
  turn();
}

TEST_P(ReactorContract, OneThatGoesInAnothersCallbackIsNotCalled) {
  SocketPair pairs[2];
  std::unique_ptr<Probe> probes[2];
  int reads = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    probes[i] = std::make_unique<Probe>(reactor(), pairs[i].near.get());
    probes[i]->on_read = [&, i] {
      ++reads;
      probes[i]->take();
      probes[1 - i].reset();
    };
    probes[i]->start_reading();
    pairs[i].send();
  }
  EXPECT_TRUE(until([&] { return reads > 0; }));
  turn();
  EXPECT_EQ(reads, 1);
}

TEST_P(ReactorContract, OnePausedInAnothersCallbackIsNotCalled) {
  SocketPair pairs[2];
  Probe one{reactor(), pairs[0].near.get()};
  Probe two{reactor(), pairs[1].near.get()};
  one.on_read = [&] {
    one.take();
    two.stop_reading();
  };
  two.on_read = [&] {
    two.take();
    one.stop_reading();
  };
  for (Probe* const probe : {&one, &two}) probe->start_reading();
  for (const SocketPair& pair : pairs) pair.send();
  turn();
  turn();
  EXPECT_EQ(one.reads + two.reads, 1);
}

TEST_P(ReactorContract, DetachedAndAttachedAgain) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  probe.on_read = [&] {
    probe.take();
    probe.detach();
    probe.attach();
    probe.start_reading();
  };
  probe.start_reading();
  for (int i = 1; i <= 3; ++i) {
    pair.send();
    EXPECT_TRUE(until([&] { return probe.reads == i; }));
  }
  probe.detach();
  probe.detach();
  pair.send();
  turn();
  EXPECT_EQ(probe.reads, 3);
}

TEST_P(ReactorContract, ANumberUsedAgainIsAnotherDescriptor) {
  SocketPair trigger;
  SocketPair old;
  SocketPair fresh;
  Probe first{reactor(), trigger.near.get()};
  auto second = std::make_unique<Probe>(reactor(), old.near.get());
  std::unique_ptr<Probe> third;
  first.start_reading();
  second->start_reading();
  // The old number is ready and broken, the new descriptor under that number is neither.
  const auto exchange = [&] {
    if (third) return;
    second.reset();
    ASSERT_EQ(::dup2(fresh.near.get(), old.near.get()), old.near.get());
    third = std::make_unique<Probe>(reactor(), old.near.get());
    third->on_read = [&] { third->take(); };
    third->start_reading();
  };
  first.on_read = [&] {
    first.take();
    exchange();
  };
  second->on_error = exchange;
  trigger.send();
  old.send();
  old.break_off();
  EXPECT_TRUE(until([&] { return third != nullptr; }));
  turn();
  EXPECT_EQ(third->errors, 0);
  const int in_vain = third->reads;  // harmless: a read that finds nothing
  fresh.send();
  EXPECT_TRUE(until([&] { return third->reads > in_vain; }));
  EXPECT_EQ(third->errors, 0);
}

TEST_P(ReactorContract, OneRegistrationForEachDescriptor) {
  SocketPair pair;
  Probe probe{reactor(), pair.near.get()};
  probe.attach();  // no effect: attached already
  Probe other{reactor(), pair.near.get(), false};
  EXPECT_THROW(other.attach(), Error);
  EXPECT_THROW((Probe{reactor(), -1}), Error);
  pair.send();
  probe.on_read = [&] { probe.take(); };
  probe.start_reading();
  turn();
  EXPECT_EQ(probe.reads, 1) << "the first is not disturbed";
}

TEST_P(ReactorContract, TimersRunInTheOrderOfTheirTimes) {
  std::vector<int> order;
  std::vector<Reactor::Timer> timers;
  for (const int delay : {30, 10, 20})
    timers.push_back(reactor().call_later(milliseconds{delay}, [&, delay] { order.push_back(delay); }));
  turn();
  EXPECT_TRUE(order.empty());
  pass(milliseconds{60});
  EXPECT_EQ(order, (std::vector{10, 20, 30}));
}

TEST_P(ReactorContract, ATimerRunsOnceAndNotEarly) {
  int calls = 0;
  const TimePoint start = reactor().now();
  TimePoint ran;
  const auto timer = reactor().call_later(milliseconds{10}, [&] {
    ++calls;
    ran = reactor().now();
  });
  pass(milliseconds{50});
  EXPECT_EQ(calls, 1);
  EXPECT_GE(ran - start, milliseconds{10});
}

TEST_P(ReactorContract, ZeroDelayIsLaterAllTheSame) {
  bool ran = false;
  const auto timer = reactor().call_later(Duration::zero(), [&] { ran = true; });
  EXPECT_FALSE(ran);
  pass(milliseconds{5});
  EXPECT_TRUE(ran);
}

TEST_P(ReactorContract, ATimerOfTheLongestDelayNeverRuns) {
  bool ran = false;
  const auto timer = reactor().call_later(Duration::max(), [&] { ran = true; });
  pass(milliseconds{5});
  EXPECT_FALSE(ran);
}

TEST_P(ReactorContract, CancelledTimersDoNotRun) {
  int calls = 0;
  const auto count = [&] { ++calls; };
  auto cancelled = reactor().call_later(milliseconds{5}, count);
  cancelled.cancel();
  cancelled.cancel();
  { const auto dropped = reactor().call_later(milliseconds{5}, count); }
  auto replaced = reactor().call_later(milliseconds{5}, count);
  replaced = Reactor::Timer{};
  auto moved = reactor().call_later(milliseconds{5}, count);
  const auto kept = std::move(moved);
  pass(milliseconds{30});
  EXPECT_EQ(calls, 1) << "the one that was moved";
}

TEST_P(ReactorContract, ATimerCancelsAnotherThatIsDueToo) {
  int calls = 0;
  Reactor::Timer timers[2];
  for (std::size_t i = 0; i < 2; ++i)
    timers[i] = reactor().call_later(milliseconds{5}, [&, i] {
      ++calls;
      timers[1 - i].cancel();
    });
  std::this_thread::sleep_for(milliseconds{10});
  pass(milliseconds{20});
  EXPECT_EQ(calls, 1);
}

TEST_P(ReactorContract, ATimerStartsTheNext) {
  int calls = 0;
  Reactor::Timer timer;
  std::function<void()> again = [&] {
    if (++calls < 3) timer = reactor().call_later(milliseconds{5}, again);
  };
  timer = reactor().call_later(milliseconds{5}, again);
  for (int i = 0; i < 100 && calls < 3; ++i) pass(milliseconds{10});
  EXPECT_EQ(calls, 3);
}

TEST_P(ReactorContract, PostRunsLaterAndInOrder) {
  std::vector<int> order;
  reactor().post([&] {
    order.push_back(1);
    reactor().post([&] { order.push_back(3); });
  });
  reactor().post([&] { order.push_back(2); });
  EXPECT_TRUE(order.empty());
  EXPECT_TRUE(until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST_P(ReactorContract, PostFromOtherThreads) {
  constexpr int threads = 4;
  constexpr int each = 500;
  int calls = 0;  // touched on this thread only
  const auto here = std::this_thread::get_id();
  std::vector<std::thread> posters;
  for (int i = 0; i < threads; ++i)
    posters.emplace_back([&] {
      for (int n = 0; n < each; ++n)
        reactor().post([&] { calls += std::this_thread::get_id() == here ? 1 : 0; });
    });
  EXPECT_TRUE(until([&] { return calls == threads * each; }));
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(calls, threads * each);
}

TEST_P(ReactorContract, AThrowingCallLosesNoOther) {
  int calls = 0;
  reactor().post([] { throw std::string{"thrown"}; });
  reactor().post([&] { ++calls; });
  EXPECT_THROW(turn(), std::string);
  EXPECT_TRUE(until([&] { return calls == 1; }));
}

}  // namespace tunport
