// A protocol behind an IP protocol number: each datagram of number 253 (for experiments, RFC 3692) goes back
// to the sender.
//
//   example_protocol tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up
//   (a raw socket of protocol 253, sent to 10.0.0.2)
#include <iostream>

#include <tunport/tunport.hpp>

class Mirror : public tunport::TransportProtocol {
 public:
  static constexpr std::uint8_t number = 253;

  void datagram_received(const tunport::IpDatagram& datagram) override {
    const tunport::Bytes payload = datagram.payload();
    datagram.reply(number, {&payload, 1});
  }
};

int main(int argc, char** argv) try {
  Mirror mirror;
  tunport::IpDemux ip;
  ip.add_proto(Mirror::number, mirror);

  tunport::TuntapPort port{argc > 1 ? argv[1] : "tun%d", ip};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();  // until the device is deleted
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_protocol: " << error.what() << '\n';
  return 1;
}
