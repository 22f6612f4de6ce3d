#include <cerrno>

#include <gtest/gtest.h>

#include "tunport/base/error.hpp"
#include "tunport/port/fate_internal.hpp"

namespace tunport {
namespace {

struct Row {
  int error;
  Fate::Kind kind;
  DropReason reason;
  std::error_code code;
};

class FateTest : public testing::TestWithParam<Row> {};

TEST_P(FateTest, OfAPacketAfterAnError) {
  const Fate fate = fate_of(GetParam().error);
  EXPECT_EQ(fate.kind, GetParam().kind);
  EXPECT_EQ(fate.reason, GetParam().reason);
  EXPECT_EQ(fate.code, GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(
    Errors, FateTest,
    testing::Values(Row{EAGAIN, Fate::wait, DropReason::no_buffers, errno_code(EAGAIN)},
                    Row{EINTR, Fate::wait, DropReason::no_buffers, errno_code(EAGAIN)},
                    Row{EBADFD, Fate::gone, DropReason::device_gone, Errc::device_gone},
                    Row{EBADF, Fate::gone, DropReason::device_gone, Errc::device_gone},
                    Row{EIO, Fate::lost, DropReason::link_down, Errc::link_down},
                    Row{ENETDOWN, Fate::lost, DropReason::link_down, Errc::link_down},
                    Row{ENOBUFS, Fate::lost, DropReason::no_buffers, errno_code(ENOBUFS)},
                    Row{ENOMEM, Fate::lost, DropReason::no_buffers, errno_code(ENOMEM)},
                    Row{EMSGSIZE, Fate::lost, DropReason::too_long, errno_code(EMSGSIZE)},
                    Row{ENETUNREACH, Fate::lost, DropReason::no_route, errno_code(ENETUNREACH)},
                    Row{EHOSTUNREACH, Fate::lost, DropReason::no_route, errno_code(EHOSTUNREACH)},
                    Row{EADDRNOTAVAIL, Fate::lost, DropReason::no_route, errno_code(EADDRNOTAVAIL)},
                    Row{EINVAL, Fate::lost, DropReason::kernel_refused, errno_code(EINVAL)},
                    Row{EPERM, Fate::lost, DropReason::kernel_refused, errno_code(EPERM)}),
    [](const auto& row) { return "errno" + std::to_string(row.param.error); });

TEST(RefusalTest, EachHasItsError) {
  for (const auto& [reason, code] : std::initializer_list<std::pair<DropReason, std::error_code>>{
           {DropReason::link_down, Errc::link_down},
           {DropReason::device_gone, Errc::device_gone},
           {DropReason::not_listening, Errc::not_listening},
           {DropReason::aborted, Errc::operation_aborted},
           {DropReason::too_long, errno_code(EMSGSIZE)},
           {DropReason::no_route, errno_code(EHOSTUNREACH)},
           {DropReason::queue_full, errno_code(ENOBUFS)},
           {DropReason::no_buffers, errno_code(ENOBUFS)},
           {DropReason::empty, errno_code(EINVAL)}})
    EXPECT_EQ(error_of(reason), code) << to_string(reason);
}

}  // namespace
}  // namespace tunport
