// Only what is installed is included here; each library room that a user meets is used once, on the fake
// kernel.
#include <cstdio>
#include <system_error>

#include <asio/io_context.hpp>

#include "tunport/base/error.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/host/host.hpp"
#include "tunport/port/asio_completion.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

int main() {
  const std::error_code busy = tunport::Errc::device_busy;
  if (busy != std::errc::device_or_resource_busy || tunport::remedy(busy).empty()) return 1;

  tunport::MemorySystem kernel;
  tunport::ManualReactor clock;
  tunport::Host host{{.addresses = {tunport::packets::host_ip}}};
  tunport::TuntapPort port{clock, "tun0", host.ip(), {.system = kernel}};
  port.start_listening();
  kernel.tunnel("tun0").set_up(true);
  kernel.tunnel("tun0").inject(tunport::packets::icmp_echo());
  clock.run_ready();
  if (kernel.tunnel("tun0").collect().size() != 1 || host.statistics().icmp_echo_replies != 1) return 2;

  asio::io_context io;
  tunport::AsioReactor reactor{io};
  tunport::TuntapPort plain{reactor, tunport::DeviceKind::tap, "tap0", {.system = kernel}};
  plain.start_listening();
  std::error_code sent;
  plain.async_send({}, [&](const std::error_code& ec) {
    sent = ec;
    plain.stop_listening();
  });
  io.run();
  if (sent != std::errc::invalid_argument) return 3;

  std::puts("consumer: built, linked, run");
}
