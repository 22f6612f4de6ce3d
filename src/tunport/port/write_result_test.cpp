#include "tunport/port/write_result.hpp"

#include <cerrno>
#include <utility>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(WriteResult, EachErrorOfTheKernelHasItsReason) {
  for (const auto& [error, reason] : {std::pair{EIO, DropReason::link_down},
                                      {ENETDOWN, DropReason::link_down},
                                      {EAGAIN, DropReason::no_buffers},
                                      {ENOBUFS, DropReason::no_buffers},
                                      {ENOMEM, DropReason::no_buffers},
                                      {EBADFD, DropReason::device_gone},
                                      {EBADF, DropReason::device_gone},
                                      {EMSGSIZE, DropReason::too_long},
                                      {EHOSTUNREACH, DropReason::no_route},
                                      {EINVAL, DropReason::kernel_refused},
                                      {EPERM, DropReason::kernel_refused}})
    EXPECT_EQ(drop_reason_of(error), reason) << error;
}

TEST(WriteResult, IsTrueUnlessRefused) {
  EXPECT_TRUE(WriteResult::make_sent());
  EXPECT_TRUE(WriteResult::make_queued());
  const auto refused = WriteResult::make_refused(DropReason::too_long);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.reason(), DropReason::too_long);
}

}  // namespace
}  // namespace tunport
