#include "tunport/gate/relay.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tunport/event/epoll_reactor.hpp"

#include "support/relay_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace relay_test;

class RelayOfBothKinds : public RelayTest, public testing::WithParamInterface<int> {
 protected:
  Kind kind() const { return GetParam() == 0 ? Kind::tcp : Kind::local; }
};
INSTANTIATE_TEST_SUITE_P(Sockets, RelayOfBothKinds, testing::Values(0, 1),
                         [](const auto& of) { return of.param == 0 ? "Tcp" : "Unix"; });

TEST_P(RelayOfBothKinds, BytesPassBothWaysAtOnce) {
  constexpr std::uint64_t size = 100'000'000;
  start(kind());
  bool a_has_all = false;
  bool b_has_all = false;
  EXPECT_TRUE(run_until([&] {
    at_a_->send(size);
    at_b_->send(size + 1);
    a_has_all = a_has_all || at_a_->receive();
    b_has_all = b_has_all || at_b_->receive();
    return a_has_all && b_has_all && calls_ != 0;
  }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_EQ(at_a_->received(), size + 1);
  EXPECT_FALSE(at_a_->wrong());
  EXPECT_FALSE(at_b_->wrong());
  EXPECT_EQ(result_.end, RelayEnd::closed);
  EXPECT_EQ(result_.a_to_b, size);
  EXPECT_EQ(result_.b_to_a, size + 1);
  EXPECT_FALSE(error_);
  EXPECT_EQ(calls_, 1);
}

TEST_P(RelayOfBothKinds, AHalfCloseLeavesTheOtherWayOpen) {
  for (const bool a_first : {true, false}) {
    start(kind());
    Peer& first = a_first ? *at_a_ : *at_b_;
    Peer& second = a_first ? *at_b_ : *at_a_;
    first.send(10);
    EXPECT_TRUE(run_until([&] { return second.receive(); }));
    EXPECT_EQ(second.received(), 10U);
    settle();
    EXPECT_EQ(calls_, 0);
    bool all = false;
    EXPECT_TRUE(run_until([&] {
      second.send(5'000'000);
      all = all || first.receive();
      return all && calls_ != 0;
    }));
    EXPECT_EQ(first.received(), 5'000'000U);
    EXPECT_FALSE(first.wrong());
    EXPECT_EQ(result_.end, RelayEnd::closed);
    EXPECT_EQ(std::exchange(calls_, 0), 1);
  }
}

TEST_P(RelayOfBothKinds, AReaderThatStopsStopsTheWriter) {
  RelayResult progress;
  start(kind(), {.progress = &progress});
  constexpr std::uint64_t size = 60'000'000;
  const std::size_t before = open_pipes();
  stall(size);
  EXPECT_EQ(open_pipes(), before + 2) << "a pipe has two ends, and the other way has none";
  EXPECT_GT(progress.a_to_b, 0U);
  EXPECT_LE(at_a_->sent() - progress.a_to_b, 20'000'000U);
  EXPECT_EQ(calls_, 0);
  at_b_->send(1000, false);
  EXPECT_TRUE(run_until([&] {
    at_a_->receive();
    return at_a_->received() == 1000;
  })) << "the other way goes on";

  EXPECT_TRUE(run_until([&] {
    at_a_->send(size);
    return at_b_->receive();
  }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_b_->wrong());
  EXPECT_EQ(progress.a_to_b, size);
  relay_.reset();  // writes its end into the counters
}

TEST_F(RelayTest, IdleRelaysHoldNoPipes) {
  constexpr std::size_t count = 500;
  struct One {
    Connection a;
    Connection b;
    std::optional<Relay> relay;
  };
  std::vector<One> relays(count);
  for (One& one : relays) {
    one.a = tcp_connection();
    one.b = tcp_connection();
    one.relay.emplace(reactor_, pipes_, std::move(one.a.end), std::move(one.b.end), RelayOptions{}, nullptr);
  }
  const std::size_t before = open_pipes();
  for (One& one : relays) {
    ASSERT_EQ(::send(one.a.peer.get(), "ping", 4, 0), 4);
    ASSERT_EQ(::send(one.b.peer.get(), "pong!", 5, 0), 5);
  }
  std::size_t passed = 0;
  ASSERT_TRUE(run_until([&] {
    passed = 0;
    for (const One& one : relays) passed += one.relay->result().a_to_b + one.relay->result().b_to_a;
    return passed == count * 9;
  }));
  for (One& one : relays) {
    std::array<char, 10> buffer{};
    ASSERT_EQ(::recv(one.b.peer.get(), buffer.data(), buffer.size(), 0), 4);
    ASSERT_EQ(::recv(one.a.peer.get(), buffer.data(), buffer.size(), 0), 5);
    ASSERT_STREQ(buffer.data(), "pong!");
  }
  EXPECT_EQ(pipes_.idle(), 1U) << "all shared a pipe";
  EXPECT_EQ(open_pipes(), before + 2);
}

TEST(PipePoolTest, KeepsABoundedNumber) {
  PipePool pool{2};
  const std::size_t before = open_pipes();
  {
    std::array<PipePool::Pipe, 5> pipes;
    for (PipePool::Pipe& pipe : pipes) pipe = pool.take();
    for (PipePool::Pipe& pipe : pipes) {
      EXPECT_TRUE(pipe);
      pool.give(std::move(pipe));
    }
  }
  EXPECT_EQ(pool.idle(), 2U);
  EXPECT_EQ(open_pipes(), before + 4);
}

/// No free descriptor, until the destruction.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const UniqueFd lowest{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const rlimit none{static_cast<rlim_t>(lowest.get()), before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_P(RelayOfBothKinds, WithoutADescriptorForAPipeBytesAreCopied) {
  constexpr std::uint64_t size = 10'000'000;
  start(kind());
  {
    const NoDescriptors none;
    for (int i = 0; i < 50; ++i) {
      at_a_->send(size);
      at_b_->send(size, false);
      reactor_.run_once(1ms);
    }
    EXPECT_EQ(pipes_.idle(), 0U);
    bool all = false;
    EXPECT_TRUE(run_until([&] {
      at_a_->send(size);
      at_b_->send(size, false);
      all = all || at_b_->receive();
      at_a_->receive();
      return all && at_a_->received() == size;
    })) << "the readers began late";
    EXPECT_EQ(pipes_.idle(), 0U);
  }
  at_b_->send(size + 1000);
  EXPECT_TRUE(run_until([&] { return at_a_->receive(); }));
  EXPECT_EQ(pipes_.idle(), 1U) << "with a descriptor the bytes go through a pipe again";
  EXPECT_EQ(at_a_->received(), size + 1000);
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_a_->wrong() || at_b_->wrong());
}

TEST_F(RelayTest, UrgentBytesPassInTheirPlace) {
  start();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(::send(a_.get(), "before ", 7, 0), 7);
    ASSERT_EQ(::send(a_.get(), "!", 1, MSG_OOB), 1);
    ASSERT_EQ(::send(a_.get(), " behind", 7, 0), 7);
    std::string arrived;
    ASSERT_TRUE(run_until([&] {
      std::array<char, 100> buffer{};
      if (const ssize_t got = ::recv(b_.get(), buffer.data(), buffer.size(), 0); got > 0)
        arrived.append(buffer.data(), static_cast<std::size_t>(got));
      return arrived.size() >= 15;
    })) << arrived;
    EXPECT_EQ(arrived, "before ! behind");
  }
}

TEST_F(RelayTest, UrgentBytesThatWaitDoNotSpinTheLoop) {
  start();
  stall();
  // Room for the urgent byte: b takes a little, and the bytes in front fill the way again.
  std::array<char, 100'000> some{};
  ASSERT_GT(::recv(b_.get(), some.data(), some.size(), 0), 0);
  ASSERT_TRUE(run_until([&] {
    return ::send(a_.get(), "!", 1, MSG_OOB) == 1 || ::recv(b_.get(), some.data(), some.size(), 0) == 0;
  }));
  std::size_t events = 0;
  const TimePoint start = Clock::now();
  while (Clock::now() < start + 200ms) events += reactor_.run_once(10ms);
  EXPECT_LT(events, 400U) << "some each 10 ms";
  EXPECT_EQ(calls_, 0);
}

TEST_F(RelayTest, ATurnIsBounded) {
  constexpr std::uint64_t size = 5'000'000;
  constexpr int room = 32'000'000;
  connect(Kind::tcp);
  if (::setsockopt(ends_[0].get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
    GTEST_SKIP() << "no privilege for large socket buffers";
  ASSERT_EQ(::setsockopt(a_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room), 0);
  ASSERT_EQ(::setsockopt(ends_[1].get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room), 0);
  ASSERT_TRUE(at_a_->send(size, false));
  int waiting = 0;
  while (::ioctl(ends_[0].get(), FIONREAD, &waiting) == 0 && waiting < 4'000'000)
    std::this_thread::sleep_for(1ms);
  relay();
  std::uint64_t largest = 0;
  std::uint64_t before = 0;
  ASSERT_TRUE(run_until([&] {
    const std::uint64_t moved = relay_->result().a_to_b;
    largest = std::max(largest, moved - before);
    before = moved;
    return moved == size;
  }));
  EXPECT_LE(largest, 2U << 20) << "the rest of the turn's share, and a read";
}

TEST_F(RelayTest, AFloodLeavesTurnsToOthers) {
  start();
  std::atomic<bool> stop{false};
  std::thread writer{[&] {
    while (!stop) at_a_->send(UINT64_MAX, false);
  }};
  std::thread reader{[&] {
    while (!stop) at_b_->receive();
  }};
  int turns = 0;
  std::function<void()> turn = [&] {
    if (++turns < 100) reactor_.post(turn);
  };
  reactor_.post(turn);
  EXPECT_TRUE(run_until([&] { return turns == 100 && relay_->result().a_to_b > 50'000'000; }));
  stop = true;
  writer.join();
  reader.join();
  EXPECT_FALSE(at_b_->wrong());
}

TEST(RelayOnEpoll, BytesPass) {
  EpollReactor reactor;
  PipePool pipes;
  Connection a = tcp_connection();
  Connection b = tcp_connection();
  std::optional<RelayResult> end;
  const Relay relay{
      reactor,          pipes, std::move(a.end),
      std::move(b.end), {},    [&](const std::error_code&, const RelayResult& result) { end = result; }};
  Peer at_a{a.peer.get(), 1, 2};
  Peer at_b{b.peer.get(), 2, 1};
  const TimePoint limit = Clock::now() + 20s;
  while (!end && Clock::now() < limit) {
    at_a.send(20'000'000);
    if (at_b.receive()) at_b.send(10);
    at_a.receive();
    reactor.run_ready();
  }
  ASSERT_TRUE(end);
  EXPECT_EQ(end->end, RelayEnd::closed);
  EXPECT_EQ(at_b.received(), 20'000'000U);
  EXPECT_FALSE(at_b.wrong());
}

}  // namespace
}  // namespace tunport
