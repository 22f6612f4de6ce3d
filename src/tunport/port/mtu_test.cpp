// The MTU of a port's link: by the link's events, or asked for.
#include <chrono>

#include "tunport/base/error.hpp"
#include "tunport/testing/fault_plan.hpp"

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using namespace std::chrono_literals;

class PortMtu : public PortTest {
 protected:
  ~PortMtu() override { port.reset(); }

  /// The questions by netlink of two seconds with many a question to the port.
  std::uint64_t questions() {
    const std::uint64_t before = plan.calls(SystemCall::find);
    for (int i = 0; i < 20; ++i) {
      port->mtu();
      clock.advance(100ms);
    }
    return plan.calls(SystemCall::find) - before;
  }

  FaultPlan plan{kernel};
};

TEST_F(PortMtu, IsAsToldByTheLastEvent) {
  start({.system = plan});
  EXPECT_EQ(port->mtu(), 1500U) << "before an event";
  clock.run_ready();
  EXPECT_EQ(port->mtu(), 1500U);
  EXPECT_EQ(questions(), 0U);
  kernel.links().set_mtu("tap0", 1400);
  clock.run_ready();
  EXPECT_EQ(port->mtu(), 1400U);
  EXPECT_EQ(questions(), 0U);
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(port->mtu(), 0U);
  start({.system = plan});
  EXPECT_EQ(port->mtu(), 1500U) << "of a new interface";
}

TEST_F(PortMtu, IsAskedForOnceASecondWithoutEvents) {
  plan.fail(SystemCall::monitor, 1, Errc::not_permitted);
  start({.system = plan});
  clock.run_ready();
  const std::uint64_t each = plan.calls(SystemCall::find);
  EXPECT_EQ(port->mtu(), 1500U);
  const std::uint64_t question = plan.calls(SystemCall::find) - each;
  EXPECT_GT(question, 0U);
  clock.advance(1s);
  EXPECT_EQ(questions(), 2 * question);
  kernel.links().set_mtu("tap0", 1400);
  clock.advance(1s);
  EXPECT_EQ(port->mtu(), 1400U);
}

}  // namespace
}  // namespace tunport
