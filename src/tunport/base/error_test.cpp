#include "tunport/base/error.hpp"

#include <cerrno>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Error, MessageGivesCauseAndRemedy) {
  const std::error_code ec = Errc::not_permitted;
  EXPECT_NE(ec.message().find("not permitted; give the program CAP_NET_ADMIN"), std::string::npos)
      << ec.message();
  EXPECT_NE(ec.message().find("--sandbox"), std::string::npos);
  EXPECT_NE(ec.message().find("ip tuntap add"), std::string::npos);
}

// Of binding a socket, and of removing an address from an interface.
TEST(Error, AnAddressThatIsNotThereHasARemedyForBothUses) {
  const auto text = remedy(errno_code(EADDRNOTAVAIL));
  EXPECT_NE(text.find("an address that the interface has"), std::string_view::npos) << text;
  EXPECT_EQ(text.find("bind"), std::string_view::npos) << text;
}

TEST(Error, EveryOwnErrorHasACause) {
  for (int value = static_cast<int>(Errc::no_driver); value <= static_cast<int>(Errc::no_user_namespaces);
       ++value)
    EXPECT_NE(cause({value, error_category()}), "unknown error") << value;
}

TEST(Error, ComparesEqualToTheErrnoThatItStandsFor) {
  EXPECT_EQ(std::error_code{Errc::device_busy}, std::errc::device_or_resource_busy);
  EXPECT_EQ(std::error_code{Errc::operation_aborted}, std::errc::operation_canceled);
  EXPECT_EQ(errno_code(ENOENT), std::errc::no_such_file_or_directory);
  EXPECT_NE(std::error_code{Errc::link_down}, std::errc::io_error);
  EXPECT_EQ(errno_code(EBADFD), Errc::device_gone);
}

TEST(Error, KnowsWhatPasses) {
  EXPECT_TRUE(is_transient(errno_code(EAGAIN)));
  EXPECT_TRUE(is_transient(errno_code(EINTR)));
  EXPECT_TRUE(is_transient(errno_code(ENOBUFS)));
  EXPECT_TRUE(is_transient(errno_code(EIO)));
  EXPECT_TRUE(is_transient(Errc::link_down));
  EXPECT_TRUE(is_transient(Errc::device_busy));
  EXPECT_FALSE(is_transient(Errc::device_gone));
  EXPECT_FALSE(is_transient(Errc::not_permitted));
  EXPECT_FALSE(is_transient(errno_code(EINVAL)));
}

TEST(Error, ExceptionNamesItsSubjectFirst) {
  const CannotListenError error{Errc::device_busy, "tp0"};
  EXPECT_EQ(std::string{error.what()}.find("tp0: another process holds the device; "), 0U) << error.what();
  EXPECT_EQ(error.subject(), "tp0");
  EXPECT_EQ(error.code(), Errc::device_busy);
}

}  // namespace
}  // namespace tunport
