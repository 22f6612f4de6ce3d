// IP packets carried over UDP between two machines: a TUN at each end, and no cipher.
//
//   a# example_vpn tun0 192.0.2.1:5000 192.0.2.2:5000 10.9.0.1/24
//   b# example_vpn tun0 192.0.2.2:5000 192.0.2.1:5000 10.9.0.2/24
//
// A burst of packets leaves in few calls, and a run of datagrams enters the interface as few packets: both by
// default.
#include <iostream>

#include <asio/io_context.hpp>
#include <tunport/asio.hpp>

int main(int argc, char** argv) try {
  const auto local = tunport::Endpoint::parse(argc == 5 ? argv[2] : "");
  const auto peer = tunport::Endpoint::parse(argc == 5 ? argv[3] : "");
  const auto address = tunport::IpPrefix::parse(argc == 5 ? argv[4] : "");
  if (!local || !peer || !address) {
    std::cerr << "usage: example_vpn TUN ADDRESS:PORT PEER-ADDRESS:PORT TUN-ADDRESS/LENGTH\n";
    return 2;
  }
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  tunport::TuntapPort tun{reactor,
                          tunport::DeviceKind::tun,
                          argv[1],
                          {.interface = {.addresses = {*address}, .mtu = 1420, .up = true}}};

  tunport::UdpPort udp{reactor, *local};

  tun.on_frame([&](const tunport::Packet& packet) { udp.write_segments(*peer, packet); },
               tunport::PacketForm::whole);
  udp.on_datagram([&](const tunport::Datagram& datagram) {
    if (datagram.from == *peer)
      tun.write(datagram.data);
    else
      udp.drop(tunport::DropReason::ip_bad_source);
  });

  std::error_code lost;
  tun.on_connection_lost([&](const std::error_code& reason) {
    lost = reason;
    io.stop();
  });
  tun.start_listening();
  udp.start_listening();
  std::cout << tun << ' ' << udp << std::endl;
  io.run();  // until the device is deleted
  throw tunport::Error{lost, tun.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_vpn: " << error.what() << '\n';
  return 1;
}
