// The protocol of answer.cpp on a plain UDP socket: no interface, no privilege.
//
//   example_udp 127.0.0.1:4242 & echo hello | nc -u -w1 127.0.0.1 4242
#include <iostream>

#include "answer.hpp"

int main(int argc, char** argv) try {
  const auto local = tunport::Endpoint::parse(argc == 2 ? argv[1] : "");
  if (!local) {
    std::cerr << "usage: example_udp ADDRESS:PORT\n";
    return 2;
  }
  Answer answer;
  tunport::UdpPort port{*local, answer};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();
  throw tunport::Error{lost, to_string(*local)};
} catch (const std::exception& error) {
  std::cerr << "example_udp: " << error.what() << '\n';
  return 1;
}
