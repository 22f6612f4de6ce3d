#pragma once
/// From a TAP port to protocols, by EtherType.

#include <optional>

#include "tunport/protocol/arrival.hpp"
#include "tunport/protocol/protocol_table.hpp"

namespace tunport {

/// Which frames an `EthernetDemux` takes.
struct EthernetOptions {
  /// Frames for others are dropped (`ethernet_wrong_mac`); groups pass. Without it, every frame is taken.
  std::optional<MacAddress> address = std::nullopt;
  /// Frames of any VLAN are taken, and answered with the same tags. Without it they are dropped
  /// (`vlan_tagged`), but for VLAN 0, which is a priority only.
  bool any_vlan = false;
};

/// Demultiplexes Ethernet frames. Drops: `truncated`, `ethernet_short`, `ethernet_wrong_mac`, `vlan_tagged`,
/// `unknown_ethertype` (802.3 lengths too).
///
///     EthernetDemux eth; eth.add_proto(0x0800, ip);
class EthernetDemux : public EthernetFrameProtocol {
 public:
  explicit EthernetDemux(EthernetOptions options = {}) : options_{options} {}

  /// `number`: an EtherType, 0 to 65535; std::out_of_range otherwise. Several protocols may share it, each
  /// gets every payload. The protocol is borrowed until it is removed or this goes. Allowed while delivering.
  void add_proto(int number, NetworkProtocol& protocol) {
    protocols_.add(number, protocol, connected_transport());
  }
  void remove_proto(int number, NetworkProtocol& protocol) { protocols_.remove(number, protocol); }

  void start_protocol() override { protocols_.start(connected_transport()); }
  void stop_protocol() override { protocols_.stop(); }
  void frame_received(const Packet& frame) override;
  /// Super-packets go on whole to a protocol that accepts them and has its number to itself, in segments to
  /// others.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override { return protocols_.thrower(*this); }
  void lose_transport(const FrameTransport* transport) override {
    EthernetFrameProtocol::lose_transport(transport);
    protocols_.lose_transport(transport);
  }

 private:
  using Protocols = ProtocolTable<NetworkProtocol>;

  void deliver(Protocols::Range& protocols, FrameTransport& port, const EthernetView& frame,
               const Packet& packet);

  EthernetOptions options_;
  Protocols protocols_{"EtherType", 0xffff};
};

}  // namespace tunport
