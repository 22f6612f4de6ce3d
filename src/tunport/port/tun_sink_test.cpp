#include <cerrno>

#include <gtest/gtest.h>

#include "tunport/port/tun_sink_internal.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

TEST(TunSinkTest, APacketOfWhichNoDatagramComesOutIsRefused) {
  MemorySystem kernel;
  std::error_code ec;
  Device device = Device::open(DeviceKind::tap, "tap0", {}, kernel, ec);
  ASSERT_FALSE(ec) << ec.message();
  kernel.tunnel("tap0").set_up(true);
  Statistics statistics;
  TunSink sink{device, DeviceKind::tap, statistics, 65'600};
  sink.reset();
  const shapes::Shape on_tun{.protocol = ip_protocol::udp};
  const auto packet = shapes::super_packet(on_tun, shapes::some_bytes(300));
  const Bytes part{packet};
  EXPECT_EQ(sink.write(shapes::offload_of(on_tun, 100), {.bytes = {&part, 1}}), EINVAL) << "no frame";
  EXPECT_EQ(statistics.packets_out, 0U);
}

}  // namespace
}  // namespace tunport
