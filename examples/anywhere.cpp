// Answers every UDP datagram that is routed into the interface, whatever address and port it is for: a double
// of the whole Internet. The answer comes from the address that was asked.
//
//   example_anywhere tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; ip route add
//   198.51.100.0/24 dev tun0 echo hello | nc -u -w1 198.51.100.7 4711
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include <tunport/tunport.hpp>

int main(int argc, char** argv) try {
  auto answer =
      tunport::on_datagram([](const tunport::Datagram& datagram, tunport::DatagramTransport& transport) {
        const std::string text = "this is " + to_string(datagram.to) + ": ";
        std::vector<std::byte> bytes(text.size() + datagram.data.size());
        std::ranges::copy(tunport::as_bytes(text), bytes.begin());
        std::ranges::copy(datagram.data, bytes.begin() + static_cast<std::ptrdiff_t>(text.size()));
        transport.write_to(datagram.from, bytes);
      });
  tunport::UdpDemux udp;
  tunport::IpDemux ip;
  udp.add_default(answer);
  ip.add_proto(17, udp);
  tunport::TuntapPort port{argc > 1 ? argv[1] : "tun%d", ip};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;
  tunport::default_reactor().run();  // until the device is deleted
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_anywhere: " << error.what() << '\n';
  return 1;
}
