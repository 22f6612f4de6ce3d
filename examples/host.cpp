// A small IP host behind an interface: it answers ARP, ping and UDP echo, and says where nobody listens.
// Without a loop of one's own: the default reactor.
//
//   example_host tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; ping 10.0.0.2
#include "tunport/host/host.hpp"

#include <iostream>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/port/tuntap_port.hpp"

int main(int argc, char** argv) try {
  tunport::Host host{{.addresses = {*tunport::Ipv4Address::parse("10.0.0.2")}}};
  tunport::UdpEcho echo;
  host.add_udp(7777, echo);

  tunport::TuntapPort port{argc > 1 ? argv[1] : "tun%d", host.ip()};  // IP packets: TUN
  port.on_connection_lost(
      [](const std::error_code& reason) { std::cout << "lost: " << reason.message() << '\n'; });
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();
} catch (const std::exception& error) {
  std::cerr << "example_host: " << error.what() << '\n';
  return 1;
}
