// The same protocol as in answer.cpp, on a plain UDP socket: no interface, no privilege.
//
//   example_udp 4242 & echo hello | nc -u -w1 127.0.0.1 4242
#include <cstdlib>
#include <iostream>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/udp_port.hpp"

#include "answer.hpp"

int main(int argc, char** argv) try {
  Answer answer;
  const auto number = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  tunport::UdpPort port{{*tunport::IpAddress::parse("127.0.0.1"), number}, answer};
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();
} catch (const std::exception& error) {
  std::cerr << "example_udp: " << error.what() << '\n';
  return 1;
}
