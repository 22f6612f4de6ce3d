#pragma once
/// From IP to protocols, by UDP port; and back.

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/protocol_table.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {

/// Demultiplexes UDP. The transport of the protocols behind it: `write_to` answers the sender of the datagram
/// being delivered, from the address and port that it was for; anybody else is refused with `no_route`.
/// Drops: `udp_short`, `udp_bad_length`, `udp_bad_checksum`, `unknown_udp_port`.
///
///     UdpDemux udp; udp.add_proto(42, answer);
class UdpDemux : public TransportProtocol, public DatagramTransport {
 public:
  /// `number`: a UDP port, 0 to 65535; std::out_of_range otherwise. As `EthernetDemux::add_proto`.
  void add_proto(int number, DatagramProtocol& protocol) { protocols_.add(number, protocol, this); }
  /// A protocol that removes itself while it is delivered to can still answer.
  void remove_proto(int number, DatagramProtocol& protocol) {
    protocols_.remove(number, protocol);
    if (current_ != nullptr) protocol.make_connection(*this);
  }

  void start_protocol() override { protocols_.start(this); }
  void stop_protocol() override { protocols_.stop(); }
  void datagram_received(const IpDatagram& datagram) override;
  /// The protocols get the payloads of a super-packet one by one; no datagram is ever made of them.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override { return protocols_.thrower(*this); }
  WriteResult write_to(const Endpoint& to, Bytes data) override;
  /// No effect unless a datagram is being delivered.
  void drop(DropReason reason) override {
    if (has_way_back()) current_->datagram.arrival.transport.drop(reason);
  }

 protected:
  /// Nobody is at this port. Default: counts `unknown_udp_port`.
  virtual void nobody_home(const UdpView& udp, const IpDatagram& datagram);

 private:
  struct Current {
    const UdpView& udp;
    const IpDatagram& datagram;
  };

  /// True while a datagram is delivered, unless its port was destroyed meanwhile.
  bool has_way_back() const {
    return current_ != nullptr && !current_->datagram.arrival.packet.is_port_gone();
  }

  ProtocolTable<DatagramProtocol> protocols_{"UDP port", 0xffff};
  const Current* current_ = nullptr;  // what is being delivered
};

}  // namespace tunport
