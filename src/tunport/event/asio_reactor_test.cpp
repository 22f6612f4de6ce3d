#include "tunport/event/asio_reactor.hpp"

#include <memory>

#include <linux/if_tun.h>

#include "tunport/device/device.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/probe.hpp"

namespace tunport {
namespace {

TEST(AsioReactor, TheContextRunsWhileSomethingIsWatched) {
  asio::io_context context;
  AsioReactor reactor{context};
  SocketPair pair;
  auto probe = std::make_unique<Probe>(reactor, pair.near.get());
  int calls = 0;
  const auto timer = reactor.call_later(milliseconds{5}, [&] {
    ++calls;
    probe.reset();
  });
  context.run();
  EXPECT_EQ(calls, 1);
}

TEST(AsioReactor, MayGoBeforeItsContext) {
  asio::io_context context;
  {
    AsioReactor reactor{context};
    SocketPair pair;
    Probe probe{reactor, pair.near.get()};
    probe.start_reading();
    const auto timer = reactor.call_later(Duration::zero(), [] { ADD_FAILURE(); });
    std::this_thread::sleep_for(milliseconds{2});
  }
  context.run();
}

/// The fake kernel under a real loop.
class AsioOnMemory : public ::testing::Test {
 protected:
  void turn() {
    context.restart();
    context.poll();
  }
  asio::io_context context;
  AsioReactor reactor{context};
  MemorySystem kernel;
  Device device = Device::open(DeviceKind::tun, "tp0", {}, kernel);
  MemorySystem::Tunnel tunnel = kernel.tunnel("tp0");
};

TEST_F(AsioOnMemory, ReadableWhilePacketsWait) {
  Probe probe{reactor, device.fileno()};
  std::array<std::byte, 100> buffer{};
  std::size_t packets = 0;
  probe.on_read = [&] { packets += device.read(buffer).error == 0 ? 1U : 0U; };
  probe.start_reading();
  tunnel.set_up(true);
  turn();
  EXPECT_EQ(probe.reads, 0);
  for (int i = 0; i < 3; ++i) tunnel.inject(std::array{std::byte{0x45}});
  turn();
  EXPECT_EQ(packets, 3U);
  turn();
  EXPECT_EQ(probe.reads, 3) << "one for each, none in vain";
}

TEST_F(AsioOnMemory, WritableAgainAtUp) {
  Probe probe{reactor, device.fileno()};
  probe.on_write = [&] { probe.stop_writing(); };
  for (int round = 1; round <= 3; ++round) {
    probe.start_writing();
    turn();
    EXPECT_EQ(probe.writes, round - 1) << "down";
    tunnel.set_up(true);
    turn();
    EXPECT_EQ(probe.writes, round);
    tunnel.set_up(false);
  }
}

TEST_F(AsioOnMemory, DeletedIsToldWhilePaused) {
  Probe probe{reactor, device.fileno()};
  probe.on_error = [&] { probe.detach(); };
  turn();
  EXPECT_EQ(probe.errors, 0);
  tunnel.remove();
  turn();
  EXPECT_EQ(probe.errors, 1);
}

}  // namespace
}  // namespace tunport
