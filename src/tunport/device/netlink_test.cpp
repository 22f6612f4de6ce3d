#include <gtest/gtest.h>

#include "tunport/device/netlink_internal.hpp"

namespace tunport {
namespace {

/// The number of tries until an answer, where `interrupted` of them are interrupted.
int tries_for(int interrupted, std::error_code& ec) {
  int tries = 0;
  netlink::until_consistent(ec, [&] {
    if (++tries <= interrupted) ec = Errc::links_changing;
  });
  return tries;
}

TEST(Netlink, AnInterruptedListIsAskedForAgain) {
  std::error_code ec;
  EXPECT_EQ(tries_for(0, ec), 1);
  EXPECT_FALSE(ec);
  EXPECT_EQ(tries_for(31, ec), 32);
  EXPECT_FALSE(ec) << ec.message();
}

TEST(Netlink, AListThatIsAlwaysInterruptedEndsWithAWordToTryAgain) {
  std::error_code ec;
  EXPECT_EQ(tries_for(1000, ec), 32);
  EXPECT_EQ(ec, Errc::links_changing);
  EXPECT_TRUE(is_transient(ec));
  EXPECT_NE(ec.message().find("try again"), std::string::npos) << ec.message();
  EXPECT_EQ(ec.message().find("descriptor"), std::string::npos) << ec.message();
}

TEST(Netlink, AnotherErrorIsNotAskedAgain) {
  std::error_code ec;
  int tries = 0;
  netlink::until_consistent(ec, [&] {
    ++tries;
    ec = errno_code(EPERM);
  });
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(ec, errno_code(EPERM));
}

}  // namespace
}  // namespace tunport
