#include "tunport/device/queues.hpp"

#include <gmock/gmock.h>

#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

// The contract suite has the rest (test/contract/queues_contract_test.cpp).
TEST(OpenQueues, TheLastOfAPersistentInterfaceLeavesNoMask) {
  MemorySystem kernel;
  auto tunnel = kernel.add_persistent(DeviceKind::tun, "tp0", {.multi_queue = true});
  auto queues = open_queues(DeviceKind::tun, "tp0", 3, {.offload = OffloadFeatures::all()}, kernel);
  const unsigned long mask = tunnel.offload();
  EXPECT_NE(mask, 0U);
  for (; queues.size() > 1; queues.pop_back()) EXPECT_EQ(tunnel.offload(), mask);
  queues.clear();
  EXPECT_EQ(tunnel.offload(), 0U);
}

}  // namespace
}  // namespace tunport
