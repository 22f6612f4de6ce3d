// A small IP host behind an interface: the host answers ping and UDP echo, and reports ports without a
// listener as unreachable. The loop is the default reactor.
//
//   example_host tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; ping -c 3 10.0.0.2
#include <iostream>

#include <tunport/tunport.hpp>

int main(int argc, char** argv) try {
  tunport::Host host{{.addresses = {"10.0.0.2"}}};
  tunport::UdpEcho echo;
  host.add_udp(7777, echo);

  tunport::TuntapPort port{argc > 1 ? argv[1] : "tun%d", host.ip()};  // IP packets: TUN
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();  // until the device is deleted
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_host: " << error.what() << '\n';
  return 1;
}
