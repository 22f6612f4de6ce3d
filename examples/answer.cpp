// A UDP service that lives behind an interface: the kernel routes datagrams to it, as to another machine.
//
//   example_answer tap0 &
//   ip addr add 10.0.0.1/24 dev tap0
//   ip link set tap0 up
//   ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev tap0
//   echo hello | nc -u -w1 10.0.0.2 42
#include "answer.hpp"

#include <iostream>

#include <asio/io_context.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"

int main(int argc, char** argv) try {
  asio::io_context io;
  tunport::AsioReactor reactor{io};

  Answer answer;
  tunport::UdpDemux udp;
  udp.add_proto(42, answer);
  tunport::IpDemux ip;
  ip.add_proto(17, udp);
  tunport::EthernetDemux eth;
  eth.add_proto(0x0800, ip);

  tunport::TuntapPort port{reactor, argc > 1 ? argv[1] : "tap%d", eth};  // an Ethernet protocol: TAP
  port.start_listening();
  std::cout << port << std::endl;
  io.run();  // until the device is deleted
} catch (const std::exception& error) {
  std::cerr << "example_answer: " << error.what() << '\n';
  return 1;
}
