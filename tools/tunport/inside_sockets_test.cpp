#include "inside_sockets.hpp"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <iterator>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "failure.hpp"

namespace tunport::tool {
namespace {

int option(const UniqueFd& socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  ::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size);
  return value;
}

/// The entrance of a test: the maker stays where it is.
int stay() { return 0; }

TEST(InsideSockets, AreAsWanted) {
  InsideSockets sockets{stay};
  for (const int family : {AF_INET, AF_INET6})
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
      const UniqueFd socket = sockets.make(family, type);
      ASSERT_TRUE(socket);
      EXPECT_EQ(option(socket, SO_DOMAIN), family);
      EXPECT_EQ(option(socket, SO_TYPE), type);
      EXPECT_NE(::fcntl(socket.get(), F_GETFL) & O_NONBLOCK, 0);
      EXPECT_NE(::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC, 0);
    }
}

TEST(InsideSockets, AFailureHasTheMakersReason) {
  InsideSockets sockets{stay};
  EXPECT_FALSE(sockets.make(AF_INET, 99));
  EXPECT_EQ(errno, EINVAL);
  EXPECT_TRUE(sockets.make(AF_INET, SOCK_STREAM));
}

TEST(InsideSockets, NoWayInIsALine) try {
  const InsideSockets sockets{[] { return EPERM; }};
  FAIL() << "there is none";
} catch (const Failure& failure) {
  EXPECT_STREQ(failure.what(), "--publish: no way into the sandbox: Operation not permitted");
}

TEST(InsideSockets, TheMakerHoldsNothingElse) {
  const InsideSockets sockets{stay};
  // Its descriptors can be listed by root alone.
  std::error_code ec;
  const auto descriptors =
      std::filesystem::directory_iterator{"/proc/" + std::to_string(sockets.pid()) + "/fd", ec};
  if (ec) GTEST_SKIP() << "needs root: " << ec.message() << ". This test was not run.";
  EXPECT_EQ(std::distance(descriptors, {}), 1);
}

TEST(InsideSockets, WithoutRoomHereThereIsAnErrorAndNoSocket) {
  InsideSockets sockets{stay};
  rlimit former{};
  ::getrlimit(RLIMIT_NOFILE, &former);
  const UniqueFd next{::fcntl(0, F_DUPFD_CLOEXEC, 0)};
  ASSERT_TRUE(next);
  rlimit full = former;
  full.rlim_cur = static_cast<rlim_t>(next.get()) + 1;
  ::setrlimit(RLIMIT_NOFILE, &full);
  errno = 0;
  const bool made = static_cast<bool>(sockets.make(AF_INET, SOCK_DGRAM));
  const int error = errno;
  ::setrlimit(RLIMIT_NOFILE, &former);
  EXPECT_FALSE(made);
  EXPECT_EQ(error, EMFILE);
  EXPECT_TRUE(sockets.make(AF_INET, SOCK_DGRAM));
}

TEST(InsideSockets, ALateAnswerIsNotTheNextOnes) {
  InsideSockets sockets{stay};
  ASSERT_EQ(::kill(sockets.pid(), SIGSTOP), 0);
  EXPECT_FALSE(sockets.make(AF_INET, SOCK_STREAM));
  EXPECT_EQ(errno, ETIMEDOUT);
  ASSERT_EQ(::kill(sockets.pid(), SIGCONT), 0);
  const UniqueFd socket = sockets.make(AF_INET6, SOCK_DGRAM);
  ASSERT_TRUE(socket);
  EXPECT_EQ(option(socket, SO_DOMAIN), AF_INET6);
  EXPECT_EQ(option(socket, SO_TYPE), SOCK_DGRAM);
}

TEST(InsideSockets, AMakerThatWasKilledIsAnErrorAtOnce) {
  InsideSockets sockets{stay};
  ASSERT_EQ(::kill(sockets.pid(), SIGKILL), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(sockets.make(AF_INET, SOCK_STREAM));
    EXPECT_THAT(errno, testing::AnyOf(EPIPE, ECONNRESET));
  }
}

TEST(InsideSockets, AStoppedMakerEnds) {
  pid_t pid = -1;
  {
    const InsideSockets sockets{stay};
    pid = sockets.pid();
    ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

}  // namespace
}  // namespace tunport::tool
