#pragma once
/// From a TAP port to protocols, by EtherType.

#include <optional>

#include "tunport/protocol/arrival.hpp"
#include "tunport/protocol/protocol_table.hpp"

namespace tunport {

/// The choice of frames for an `EthernetDemux`.
struct EthernetOptions {
  /// The station's address: frames for another station are dropped (`ethernet_wrong_mac`), frames for groups
  /// pass. Without an address every frame is taken.
  std::optional<MacAddress> address = std::nullopt;
  /// True: frames of every VLAN are taken, and answered with the same tags. False: frames of a VLAN are
  /// dropped (`vlan_tagged`), except of VLAN 0, which is a mere priority.
  bool any_vlan = false;
};

/// Demultiplexes Ethernet frames. Drops: `truncated`, `ethernet_short`, `ethernet_wrong_mac`, `vlan_tagged`,
/// `unknown_ethertype` (802.3 lengths too).
///
///     EthernetDemux eth; eth.add_proto(0x0800, ip);
class EthernetDemux : public EthernetFrameProtocol {
 public:
  /// A demultiplexer without protocols.
  explicit EthernetDemux(EthernetOptions options = {}) : options_{options} {}

  /// Adds a protocol behind the EtherType `number`, 0 to 65535; std::out_of_range otherwise. Several
  /// protocols may share a number: each gets every payload. The protocol is borrowed until removed, or until
  /// the end of the demultiplexer. Allowed in callbacks. An exception of the protocol's start is passed on.
  void add_proto(int number, NetworkProtocol& protocol) {
    protocols_.add(number, protocol, connected_transport());
  }
  /// Removes a protocol, and stops it if it runs. Allowed in callbacks. No effect if it is not there.
  void remove_proto(int number, NetworkProtocol& protocol) { protocols_.remove(number, protocol); }

  void start_protocol() override { protocols_.start(connected_transport()); }
  void stop_protocol() override { protocols_.stop(); }
  void frame_received(const Packet& frame) override;
  /// True. A protocol that accepts super-packets and has its number to itself gets them whole, other
  /// protocols get segments.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override { return protocols_.thrower(*this); }
  void lose_transport(const FrameTransport* transport) override {
    EthernetFrameProtocol::lose_transport(transport);
    protocols_.lose_transport(transport);
  }

 protected:
  /// Changes the station's address, from the next frame on.
  void set_address(const MacAddress& address) { options_.address = address; }

 private:
  using Protocols = ProtocolTable<NetworkProtocol>;

  void deliver(Protocols::Range& protocols, FrameTransport& port, const EthernetView& frame,
               const Packet& packet) const;

  EthernetOptions options_;
  Protocols protocols_{"EtherType", 0xffff};
};

}  // namespace tunport
