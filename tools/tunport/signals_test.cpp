#include "signals.hpp"

#include <csignal>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/event/poll_reactor.hpp"

namespace tunport::tool {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

class SignalsTest : public testing::Test {
 protected:
  // As block_signals does it, for this thread only.
  SignalsTest() { block_signals(); }
  PollReactor reactor_;
  std::vector<int> seen_;
};

TEST_F(SignalsTest, AreHandledWhenTheLoopComesRound) {
  Signals signals{
      reactor_, [this](const signalfd_siginfo& info) { seen_.push_back(static_cast<int>(info.ssi_signo)); }};
  ::raise(SIGTERM);
  ::raise(SIGINT);
  EXPECT_THAT(seen_, ElementsAre());
  reactor_.run_once(std::chrono::seconds{1});
  EXPECT_THAT(seen_, UnorderedElementsAre(SIGINT, SIGTERM));
}

TEST_F(SignalsTest, ThatCameBeforeAreNotLost) {
  ::raise(SIGTERM);
  Signals signals{
      reactor_, [this](const signalfd_siginfo& info) { seen_.push_back(static_cast<int>(info.ssi_signo)); }};
  signals.do_read();
  EXPECT_THAT(seen_, ElementsAre(SIGTERM));
}

TEST_F(SignalsTest, ClosingFromTheHandlerEndsTheLoop) {
  std::unique_ptr<Signals> signals;
  signals = std::make_unique<Signals>(reactor_, [&](const signalfd_siginfo&) { signals->close(); });
  ::raise(SIGHUP);
  reactor_.run();
  EXPECT_EQ(signals->fileno(), -1);
}

}  // namespace
}  // namespace tunport::tool
