#pragma once
/// From IP to protocols, by UDP port; and back.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/protocol_table.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {

class Neighbors;
class Unresolved;

/// The options of a UDP demultiplexer.
struct UdpDemuxOptions {
  /// The sources of datagrams to hosts that have not asked yet: the first of the family, link-local to
  /// link-local. Without an address: the last asked address of all hosts.
  std::vector<IpAddress> addresses = {};
  /// The number of remembered ways to hosts; the least recently used way is forgotten first. At least 1, at
  /// most a million; some 120 bytes each.
  std::size_t neighbors = 1024;
};

/// Demultiplexes UDP, and sends for its protocols. Drops: `udp_short`, `udp_bad_length`, `udp_bad_checksum`,
/// `unknown_udp_port`.
///
///     UdpDemux udp; udp.add_proto(42, answer);
///
/// A protocol sends from its UDP port, also outside deliveries: on TUN to every host, on TAP to hosts that
/// have sent packets recently. Received packets teach the ways: the port, the MAC address, and the VLAN tags.
class UdpDemux : public TransportProtocol, public DatagramTransport {
 public:
  /// Throws std::invalid_argument if `options.neighbors` is 0 or more than a million.
  explicit UdpDemux(UdpDemuxOptions options = {});
  ~UdpDemux() override;

  /// Adds a protocol behind the UDP port `number`, 0 to 65535; std::out_of_range otherwise. As
  /// `EthernetDemux::add_proto`.
  void add_proto(int number, DatagramProtocol& protocol);
  /// As `EthernetDemux::remove_proto`. A protocol that removes itself in a delivery can still answer.
  void remove_proto(int number, DatagramProtocol& protocol);
  /// Adds a protocol for the datagrams of every port without a protocol, for a program that serves every
  /// destination. Answers come from the asked address and port.
  void add_default(DatagramProtocol& protocol);
  /// Removes a protocol of `add_default`. As `remove_proto`.
  void remove_default(DatagramProtocol& protocol);

  void start_protocol() override;
  void stop_protocol() override;
  void lose_transport(const FrameTransport* transport) override;
  void datagram_received(const IpDatagram& datagram) override;
  /// True. A protocol that accepts super-packets, and has the port to itself, gets the payloads of a
  /// super-packet as a run; other protocols get the payloads in turn, without datagrams around them.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override;
  /// Sends one datagram, from the address and port last asked by `to`. The transport of a protocol sends from
  /// the protocol's port. Refused: `no_route` for an unknown way to `to`, and for port 0; `too_long` beyond
  /// 65,507 bytes; else as `Arrival::reply`. The port that delivered or connected last counts a refusal.
  WriteResult write_to(const Endpoint& to, Bytes data) override { return write_from(std::nullopt, to, data); }
  /// Answers a datagram, also after the delivery, from the asked address and port. As `write_to`.
  WriteResult reply(const ReplyTo& ticket, Bytes data) override;
  /// Counts the datagram being delivered as dropped. No effect outside a delivery.
  void drop(DropReason reason) override {
    if (has_way_back()) current_->datagram.arrival.transport.drop(reason);
  }
  /// The loop of the port that delivered or connected last. Throws std::logic_error before.
  Reactor& reactor() const override { return transport().reactor(); }

 protected:
  /// Asks the link of `port`, a TAP, for the hardware address of `host`, for a datagram from `from`; the
  /// answer goes to `found`. False: nothing was asked. Called at most once a second for each host. Default:
  /// false.
  virtual bool ask(FrameTransport& port, const IpAddress& host, const IpAddress& from);
  /// Tells the way to a host that was asked for: the sender of the ARP packet or the neighbour advertisement
  /// being delivered. The datagram that waits for the way is sent. False, without an effect, for a host that
  /// was not asked for: nobody is believed unasked.
  bool found(const IpAddress& host, const Arrival& arrival);
  /// The source of a datagram to a host that has not asked yet; unspecified: no source. Default: as
  /// `UdpDemuxOptions::addresses` has it.
  virtual IpAddress source_to(const IpAddress& host) const;
  /// The MTU of the path to `host`, in bytes, where narrower than the link; 0, the default: not known.
  virtual std::size_t path_mtu(const IpAddress& /*host*/) { return 0; }
  /// Called with a datagram for a port without a protocol. Default: counts `unknown_udp_port`.
  virtual void nobody_home(const UdpView& udp, const IpDatagram& datagram);

 private:
  struct Current {
    const UdpView& udp;
    const IpDatagram& datagram;
  };
  class Port;
  using Protocols = ProtocolTable<DatagramProtocol>;

  /// True in a delivery, unless the port was destroyed meanwhile.
  bool has_way_back() const {
    return current_ != nullptr && !current_->datagram.arrival.packet.is_port_gone();
  }
  void deliver(Protocols::Range& protocols, DatagramTransport& transport, const UdpView& udp,
               const IpDatagram& datagram);
  WriteResult refuse(DropReason reason);
  WriteResult write_from(std::optional<std::uint16_t> port, const Endpoint& to, Bytes data);
  WriteResult send(const Endpoint& from, const Endpoint& to, Bytes data);
  WriteResult wait_for_way(FrameTransport& port, const Endpoint& from, const Endpoint& to, Bytes data);

  UdpDemuxOptions options_;
  Protocols protocols_{"UDP port", 0xffff};
  Protocols defaults_{"default", 0};
  std::map<int, std::unique_ptr<Port>> ports_;  // the transports of the protocols, by UDP port
  std::unique_ptr<Neighbors> neighbors_;
  std::unique_ptr<Unresolved> unresolved_;  // datagrams to hosts that were asked for
  std::array<IpAddress, 2> last_asked_{Ipv4Address{},
                                       Ipv6Address{}};  // of IPv4 and IPv6; unspecified at first
  const Current* current_ = nullptr;                    // the datagram being delivered
};

}  // namespace tunport
