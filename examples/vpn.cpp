// IP packets carried over UDP between two machines: a TUN on each side, and no cipher.
//
//   a# example_vpn tun0 192.0.2.1:5000 192.0.2.2:5000 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up
//   b# example_vpn tun0 192.0.2.2:5000 192.0.2.1:5000 & ip addr add 10.0.0.2/24 dev tun0; ip link set tun0 up
//
// The packets of a burst from the interface are sent in few calls, and datagrams received in a call go into
// the interface as few packets, without effort of the program.
#include <iostream>

#include <asio/io_context.hpp>
#include <tunport/asio.hpp>

class ToPeer : public tunport::IpPacketProtocol {
 public:
  ToPeer(tunport::UdpPort& udp, const tunport::Endpoint& peer) : udp_{udp}, peer_{peer} {}
  void frame_received(const tunport::Packet& packet) override { udp_.write_to(peer_, packet.bytes()); }

 private:
  tunport::UdpPort& udp_;
  tunport::Endpoint peer_;
};

class FromPeer : public tunport::DatagramProtocol {
 public:
  explicit FromPeer(const tunport::Endpoint& peer) : peer_{peer} {}
  void datagram_received(const tunport::Datagram& datagram) override {
    if (datagram.from == peer_)
      tun->write(datagram.data);
    else
      transport().drop(tunport::DropReason::ip_bad_source);
  }
  tunport::TuntapPort* tun = nullptr;

 private:
  tunport::Endpoint peer_;
};

int main(int argc, char** argv) try {
  const auto local = tunport::Endpoint::parse(argc == 4 ? argv[2] : "");
  const auto peer = tunport::Endpoint::parse(argc == 4 ? argv[3] : "");
  if (!local || !peer) {
    std::cerr << "usage: example_vpn TUN ADDRESS:PORT PEER-ADDRESS:PORT\n";
    return 2;
  }
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  FromPeer from_peer{*peer};
  tunport::UdpPort udp{reactor, *local, from_peer};
  ToPeer to_peer{udp, *peer};
  tunport::TuntapPort tun{reactor, argv[1], to_peer};
  from_peer.tun = &tun;
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
