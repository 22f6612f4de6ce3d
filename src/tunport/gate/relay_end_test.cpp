#include <csignal>
#include <utility>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/gate/relay.hpp"

#include "support/relay_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace relay_test;

using RelayEndTest = RelayTest;

TEST_F(RelayEndTest, AResetIsPassedOn) {
  for (const bool by_a : {true, false}) {
    start();
    reset(by_a ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_a ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    EXPECT_FALSE(error_);
    Peer& other = by_a ? *at_b_ : *at_a_;
    EXPECT_FALSE(other.receive());
    EXPECT_EQ(other.error(), ECONNRESET);
    calls_ = 0;
  }
}

TEST_F(RelayEndTest, AResetBehindAHalfCloseIsNoticedWithNothingToSend) {
  for (const bool by_a : {true, false}) {
    start();
    Peer& first = by_a ? *at_a_ : *at_b_;
    Peer& other = by_a ? *at_b_ : *at_a_;
    first.send(10);
    ASSERT_TRUE(run_until([&] { return other.receive(); }));
    reset(by_a ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_a ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    EXPECT_EQ(pending_error(by_a ? b_ : a_), EPIPE) << "a reset in CLOSE_WAIT";
    calls_ = 0;
  }
}

TEST_F(RelayEndTest, BytesBeforeAResetArriveBeforeIt) {
  connect(Kind::tcp);
  ASSERT_TRUE(at_b_->send(40'000, false));
  reset(b_);
  relay();
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(result_.end, RelayEnd::reset_by_b);
  EXPECT_EQ(result_.b_to_a, 40'000U);
  EXPECT_FALSE(at_a_->receive());
  EXPECT_EQ(at_a_->error(), ECONNRESET) << "a stream that was cut off has no end in order";
  EXPECT_EQ(at_a_->received(), 40'000U);
  EXPECT_FALSE(at_a_->wrong());
}

TEST_F(RelayEndTest, AStalledWayNoticesTheReset) {
  for (const bool by_writer : {true, false}) {
    start();
    stall();
    reset(by_writer ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_writer ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    const PipePool::Pipe next = pipes_.take();
    int bytes = -1;
    EXPECT_EQ(::ioctl(next.out.get(), FIONREAD, &bytes), 0);
    EXPECT_EQ(bytes, 0) << "a pipe with bytes is not used again";
    calls_ = 0;
  }
}

TEST_F(RelayEndTest, NoSignalForASocketThatWasClosed) {
  struct sigaction before {};
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  ASSERT_EQ(::sigaction(SIGPIPE, &fatal, &before), 0);
  start(Kind::local);
  a_.reset();
  ASSERT_TRUE(run_until([&] { return at_b_->receive(); }));
  EXPECT_EQ(calls_, 0) << "b may go on to send, as far as the relay knows";
  at_b_->send(100, false);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(result_.end, RelayEnd::reset_by_a);
  EXPECT_EQ(result_.b_to_a, 0U);
  sigset_t pending;
  sigset_t mask;
  ASSERT_EQ(::sigpending(&pending), 0);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &mask), 0);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 0);
  EXPECT_EQ(::sigaction(SIGPIPE, &before, nullptr), 0);
}

TEST_F(RelayEndTest, ASideThatHungUpCostsTheLoopNothing) {
  start(Kind::local);
  a_.reset();  // POLLHUP stays
  ASSERT_TRUE(run_until([&] { return at_b_->receive(); }));
  settle();  // does not return while events come
  EXPECT_EQ(calls_, 0);
  ::shutdown(b_.get(), SHUT_WR);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(result_.end, RelayEnd::closed);
}

TEST_F(RelayEndTest, BytesBeforeAHangUpArriveThroughAStalledWay) {
  constexpr std::uint64_t size = 3'000'000;
  start(Kind::local);
  // The last bytes are in the socket of a when a goes away, as b has no room.
  do settle();
  while (!at_a_->send(size, false) && [&] {
    at_b_->receive();
    return true;
  }());
  a_.reset();
  settle();
  EXPECT_TRUE(run_until([&] { return at_b_->receive(); }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_b_->wrong());
}

TEST_F(RelayEndTest, AnIdleRelayEnds) {
  start(Kind::tcp, {.idle_timeout = 50ms});
  const TimePoint began = Clock::now();
  for (std::uint64_t i = 1; i <= 10; ++i) {
    at_a_->send(i, false);
    ASSERT_TRUE(run_until([&] { return calls_ != 0 || relay_->result().a_to_b == i; }));
    if (calls_ != 0) break;  // a slow machine
    const TimePoint next = Clock::now() + 10ms;
    run_until([&] { return Clock::now() >= next; });
  }
  const TimePoint last = Clock::now();
  ASSERT_TRUE(run_to_the_end());
  EXPECT_GE(Clock::now() - began, 50ms);
  EXPECT_GE(Clock::now() - last, 30ms - 10ms);
  EXPECT_EQ(result_.end, RelayEnd::idle);
  EXPECT_FALSE(error_);
  EXPECT_FALSE(at_b_->receive());
  EXPECT_EQ(at_b_->error(), ECONNRESET);
}

TEST_F(RelayEndTest, ACancelledRelayResetsBothAtOnce) {
  start();
  stall();
  relay_->cancel();
  relay_->cancel();
  EXPECT_EQ(calls_, 0) << "not from inside the call";
  at_a_->receive();
  EXPECT_EQ(at_a_->error(), ECONNRESET);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(error_, Errc::operation_aborted);
  EXPECT_EQ(result_.end, RelayEnd::cancelled);
  EXPECT_GT(result_.a_to_b, 0U);
  settle();
  EXPECT_EQ(calls_, 1);
}

TEST_F(RelayEndTest, ADestroyedRelayResetsBothAndTellsNobody) {
  start();
  at_a_->send(1000, false);
  settle();
  relay_.reset();
  at_a_->receive();
  EXPECT_EQ(at_a_->error(), ECONNRESET);
  settle();
  EXPECT_EQ(calls_, 0);

  start();
  relay_->cancel();
  relay_.reset();
  settle();
  EXPECT_EQ(calls_, 0);
}

TEST_F(RelayEndTest, AClosedSocketIsAnError) {
  connect(Kind::tcp);
  ends_[1].reset();
  EXPECT_THROW(relay(), Error);
  EXPECT_FALSE(at_a_->receive());
  EXPECT_EQ(at_a_->error(), ECONNRESET);
}

}  // namespace
}  // namespace tunport
