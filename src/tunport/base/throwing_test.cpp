#include "tunport/base/throwing.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Throwing, ReturnsWhatTheCallReturns) {
  EXPECT_EQ(throwing("tp0", [](std::error_code&) { return 7; }), 7);
  EXPECT_NO_THROW(throwing("tp0", [](std::error_code&) {}));
}

TEST(Throwing, ThrowsItsErrorWithTheSubject) {
  try {
    throwing("tp0", [](std::error_code& ec) {
      ec = Errc::device_busy;
      return 7;
    });
    FAIL() << "it returned";
  } catch (const Error& error) {
    EXPECT_EQ(error.subject(), "tp0");
    EXPECT_EQ(error.code(), Errc::device_busy);
  }
}

}  // namespace
}  // namespace tunport
