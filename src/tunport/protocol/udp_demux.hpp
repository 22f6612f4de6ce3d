#pragma once
/// From IP to protocols, by UDP port; and back.

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/protocol_table.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {

/// Demultiplexes UDP, and is the transport of its protocols. Drops: `udp_short`, `udp_bad_length`,
/// `udp_bad_checksum`, `unknown_udp_port`.
///
///     UdpDemux udp; udp.add_proto(42, answer);
class UdpDemux : public TransportProtocol, public DatagramTransport {
 public:
  /// Adds a protocol behind the UDP port `number`, 0 to 65535; std::out_of_range otherwise. As
  /// `EthernetDemux::add_proto`.
  void add_proto(int number, DatagramProtocol& protocol) { protocols_.add(number, protocol, this); }
  /// As `EthernetDemux::remove_proto`. A protocol that removes itself in a delivery can still answer.
  void remove_proto(int number, DatagramProtocol& protocol) {
    protocols_.remove(number, protocol);
    if (current_ != nullptr) protocol.make_connection(*this);
  }

  void start_protocol() override { protocols_.start(this); }
  void stop_protocol() override { protocols_.stop(); }
  void datagram_received(const IpDatagram& datagram) override;
  /// True. The protocols get the payloads of a super-packet in turn, without datagrams around them.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override { return protocols_.thrower(*this); }
  /// Answers the sender of the datagram being delivered, from the datagram's destination. Refused: `no_route`
  /// for another endpoint, for port 0, and outside a delivery; `too_long` beyond 65,507 bytes; else as
  /// `Arrival::reply`. The port that delivered or connected last counts a refusal.
  WriteResult write_to(const Endpoint& to, Bytes data) override;
  /// Counts the datagram being delivered as dropped. No effect outside a delivery.
  void drop(DropReason reason) override {
    if (has_way_back()) current_->datagram.arrival.transport.drop(reason);
  }

 protected:
  /// Called with a datagram for a port without a protocol. Default: counts `unknown_udp_port`.
  virtual void nobody_home(const UdpView& udp, const IpDatagram& datagram);

 private:
  struct Current {
    const UdpView& udp;
    const IpDatagram& datagram;
  };

  /// True in a delivery, unless the port was destroyed meanwhile.
  bool has_way_back() const {
    return current_ != nullptr && !current_->datagram.arrival.packet.is_port_gone();
  }

  ProtocolTable<DatagramProtocol> protocols_{"UDP port", 0xffff};
  const Current* current_ = nullptr;  // the datagram being delivered
};

}  // namespace tunport
