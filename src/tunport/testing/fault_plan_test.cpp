#include "tunport/testing/fault_plan.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "tunport/base/error.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

class Plans : public testing::Test {
 protected:
  int result_of_open() {
    const int fd = plan_system().io.open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    const UniqueFd closed{std::max(fd, -1)};
    return std::min(fd, 0);
  }
  System plan_system() { return plan; }

  MemorySystem kernel;
  FaultPlan plan{kernel};
};

TEST_F(Plans, TheNthCallFailsAndNoOther) {
  plan.fail(SystemCall::open, 2, errno_code(EMFILE));
  EXPECT_EQ(result_of_open(), 0);
  EXPECT_EQ(result_of_open(), -EMFILE);
  EXPECT_EQ(result_of_open(), 0);
  EXPECT_EQ(plan.calls(SystemCall::open), 3U);
  EXPECT_EQ(plan.failures(), 1U);
  plan.fail(SystemCall::open, 1, errno_code(EBADFD), 2);  // counted from now
  EXPECT_EQ(result_of_open(), -EBADFD);
  EXPECT_EQ(result_of_open(), -EBADFD);
  EXPECT_EQ(result_of_open(), 0);
  plan.fail(SystemCall::open, 1, errno_code(EMFILE));
  plan.clear();
  EXPECT_EQ(result_of_open(), 0);
  EXPECT_EQ(plan.calls(SystemCall::open), 1U);
}

TEST_F(Plans, InterfacesFailWithTheirErrors) {
  kernel.add_persistent(DeviceKind::tap, "tap0");
  std::error_code ec;
  plan.fail(SystemCall::find, 1, Errc::links_changing);
  EXPECT_FALSE(plan_system().links.find("tap0", ec));
  EXPECT_EQ(ec, Errc::links_changing);
  const auto link = plan_system().links.find("tap0", ec);
  ASSERT_TRUE(link) << ec.message();
  // An interface by its index follows the plan, too; the failing call has no effect.
  const auto only = plan_system().links.only(link->index, "tap0");
  plan.fail(SystemCall::set_up, 1, Errc::not_permitted);
  only->set_up("", true, ec);
  EXPECT_EQ(ec, Errc::not_permitted);
  EXPECT_FALSE(kernel.tunnel("tap0").up());
  only->set_up("", true, ec);
  EXPECT_TRUE(kernel.tunnel("tap0").up());
}

TEST_F(Plans, RandomFailuresFollowTheSeed) {
  const auto failures = [this](std::uint64_t seed) {
    plan.clear();
    plan.fail_randomly(seed, 3);
    std::array<int, 60> results{};
    for (int& result : results) result = result_of_open();
    return results;
  };
  const auto first = failures(1);
  EXPECT_EQ(failures(1), first);
  EXPECT_NE(failures(2), first);
  const auto failed = std::ranges::count_if(first, [](int result) { return result < 0; });
  EXPECT_GT(failed, 5);
  EXPECT_LT(failed, 40);
  plan.fail_randomly(1, 0);
  EXPECT_EQ(result_of_open(), 0);
}

TEST(FaultPlan, EachCallHasANameAndErrors) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < system_calls; ++i) {
    const auto call = static_cast<SystemCall>(i);
    names.insert(to_string(call));
    EXPECT_FALSE(FaultPlan::errors_of(call).empty());
    for (const std::error_code& error : FaultPlan::errors_of(call)) EXPECT_TRUE(error) << to_string(call);
  }
  EXPECT_EQ(names.size(), system_calls);
  EXPECT_EQ(to_string(SystemCall::inside), "inside");
}

}  // namespace
}  // namespace tunport
