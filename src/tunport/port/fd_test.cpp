// A port on a descriptor of its device, opened elsewhere.
#include <fcntl.h>

#include "tunport/base/error.hpp"

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::SizeIs;

class PortFd : public PortTest {
 protected:
  int open_elsewhere(DeviceKind kind, const std::string& name) {
    return Device::open(kind, name, {}, kernel).release().release();
  }
  static bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
  std::error_code error_of_start(int fd) {
    std::error_code ec;
    make({.fd = fd, .system = kernel}).start_listening(ec);
    EXPECT_FALSE(is_open(fd)) << "the port owned the descriptor";
    return ec;
  }
};

TEST_F(PortFd, IsAdoptedByTheFirstStart) {
  const int fd = open_elsewhere(DeviceKind::tap, "tap0");
  start({.interface = {.mtu = 1400}, .fd = fd, .system = kernel});
  EXPECT_EQ(port->fileno(), fd);
  EXPECT_EQ(interface().info().mtu, 1400U);
  EXPECT_TRUE(interface().inject(frame(1)));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, SizeIs(1));
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_sent());
  const UniqueFd kept{::dup(fd)};
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(interface().info().mtu, 1500U) << "put back, as on an adopted device";
}

TEST_F(PortFd, ALaterStartOpensByName) {
  const int fd = open_elsewhere(DeviceKind::tap, "tap0");
  start({.fd = fd, .system = kernel});
  port->stop_listening();
  clock.run_ready();
  EXPECT_FALSE(is_open(fd));
  port->start_listening();
  EXPECT_TRUE(interface().attached());
}

TEST_F(PortFd, OfAnotherDeviceIsRefused) {
  EXPECT_EQ(error_of_start(open_elsewhere(DeviceKind::tun, "tap0")), Errc::wrong_kind);
  EXPECT_EQ(error_of_start(open_elsewhere(DeviceKind::tap, "tap1")), Errc::other_device);
  EXPECT_EQ(error_of_start(kernel.open("/dev/net/tun", O_RDWR)), Errc::not_bound);
  port->start_listening();
  EXPECT_TRUE(interface().attached()) << "by name";
}

}  // namespace
}  // namespace tunport
