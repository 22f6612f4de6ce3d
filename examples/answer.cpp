// A UDP service with its own address behind an interface: for the kernel, another machine.
//
//   example_answer tap0 & ip addr add 10.0.0.1/24 dev tap0; ip link set tap0 up
//   echo hello | nc -u -w1 10.0.0.2 42
#include "answer.hpp"

#include <iostream>

#include <asio/io_context.hpp>
#include <tunport/asio.hpp>

int main(int argc, char** argv) try {
  asio::io_context io;
  tunport::AsioReactor reactor{io};

  Answer answer;
  tunport::Host host{{.addresses = {"10.0.0.2"}}};  // answers ARP and ping
  host.add_udp(42, answer);

  tunport::TuntapPort port{reactor, argc > 1 ? argv[1] : "tap%d", host.ethernet()};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;
  io.run();  // until the device is deleted
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_answer: " << error.what() << '\n';
  return 1;
}
