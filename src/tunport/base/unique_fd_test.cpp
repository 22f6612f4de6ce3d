#include "tunport/base/unique_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

namespace tunport {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwns) {
  const int fd = ::eventfd(0, 0);
  { const UniqueFd owner{fd}; }
  EXPECT_FALSE(is_open(fd));
}

TEST(UniqueFd, MovesAndReleases) {
  UniqueFd first{::eventfd(0, 0)};
  const int number = first.get();
  UniqueFd second{std::move(first)};
  EXPECT_EQ(second.get(), number);
  UniqueFd third;
  EXPECT_FALSE(third);
  third = std::move(second);
  EXPECT_EQ(third.release(), number);
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

}  // namespace
}  // namespace tunport
