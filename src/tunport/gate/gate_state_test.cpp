#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/gate/gate_state_internal.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

namespace tunport {
namespace {

/// A gate without a real listener.
class GateStates : public testing::Test {
 protected:
  GateStates()
      : state{std::make_shared<detail::GateState>(
            clock, "tun0", GateOptions{.max_requests = 4, .port = {.system = kernel}})} {
    state->port->start_listening();
    kernel.tunnel("tun0").set_up(true);
    state->tcp.set_listener(packets::endpoint("10.0.0.1:9999"));
  }
  void syn(int port) {
    const std::string from = "10.0.0.1:" + std::to_string(port);
    kernel.tunnel("tun0").inject(packets::tcp(from, "198.51.100.7:80", {.flags = tcp_flag::syn}));
    clock.run_ready();
  }

  MemorySystem kernel;
  ManualReactor clock;
  std::shared_ptr<detail::GateState> state;
};

TEST_F(GateStates, AFloodWithoutATakerIsBounded) {
  for (int port = 1; port <= 1000; ++port) syn(port);
  EXPECT_LE(state->requests.size(), 8U);
  std::vector<std::uint16_t> taken;
  for (int i = 0; i < 5; ++i)
    state->take_request([&](const std::error_code& ec, GateRequest request) {
      if (!ec) taken.push_back(request.source().port);
    });
  clock.run_ready();
  EXPECT_EQ(taken, (std::vector<std::uint16_t>{997, 998, 999, 1000}))
      << "those that are held still, in order";
}

TEST_F(GateStates, TheEndOfTheDeviceEndsTheWaitingCalls) {
  std::error_code told;
  state->take_request([&](const std::error_code& ec, GateRequest) { told = ec; });
  kernel.tunnel("tun0").remove();
  for (int i = 0; i < 5; ++i) clock.advance(std::chrono::milliseconds{10});
  EXPECT_EQ(told, Errc::device_gone);
  state->take_request([&](const std::error_code& ec, GateRequest) { told = ec; });
  state->stop();
  clock.run_ready();
  EXPECT_EQ(told, Errc::operation_aborted);
}

}  // namespace
}  // namespace tunport
