#include "child.hpp"

#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "failure.hpp"

namespace tunport::tool {
namespace {

int status_of(Child child) {
  for (int i = 0; i < 5000; ++i) {
    if (const auto status = child.poll()) return *status;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return -1;
}

Child start(const std::vector<std::string>& command) { return Child::start(command, Child::Output::ours); }

int failure_of(const std::vector<std::string>& command) {
  try {
    start(command);
  } catch (const Failure& failure) {
    return failure.status();
  }
  return 0;
}

TEST(Child, TellsItsStatus) {
  EXPECT_EQ(status_of(start({"true"})), 0);
  EXPECT_EQ(status_of(start({"sh", "-c", "exit 200"})), 200);
  EXPECT_EQ(status_of(start({"sh", "-c", "kill -HUP $$"})), 128 + SIGHUP);
}

TEST(Child, ThatCannotBeRunIsAFailure) {
  EXPECT_EQ(failure_of({"no-such-command"}), status::not_found);
  EXPECT_EQ(failure_of({"/etc/passwd/x"}), status::not_found);
  EXPECT_EQ(failure_of({""}), status::not_found);
  EXPECT_EQ(failure_of({"/"}), status::not_executable);
}

TEST(Child, StillRunningHasNoStatus) {
  Child child = start({"sleep", "60"});
  EXPECT_EQ(child.poll(), std::nullopt);
  EXPECT_TRUE(child.in_our_group());
  child.send(SIGTERM);
  EXPECT_EQ(status_of(std::move(child)), 128 + SIGTERM);
}

TEST(Child, IsKilledWithItsOwner) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);  // inherited: closed when the last process that has it is gone
  { const Child child = start({"sleep", "60"}); }
  ::close(ends[1]);
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  ::close(ends[0]);
}

}  // namespace
}  // namespace tunport::tool
