#pragma once
/// The UDP of `tunport gate --to PROXY`: names answered here, datagrams by the proxy, the rest by this
/// machine.

#include <array>
#include <functional>
#include <optional>

#include "tunport/gate/udp_relay.hpp"
#include "tunport/port/protocol.hpp"

#include "fake_names.hpp"
#include "gate_rules.hpp"
#include "proxy_udp.hpp"

namespace tunport::tool {

/// Takes the datagrams to every destination. Three ways lead on: the gate's own name server (`--dns fake`);
/// a SOCKS5 proxy; and `relay`, whose sockets are this machine's, and which refuses what has no target. An
/// HTTP proxy has no datagrams: the relay refuses them.
class GateUdp final : public DatagramProtocol {
 public:
  /// The arguments outlive the protocol. `names` may be null.
  GateUdp(Reactor& reactor, const GateRules& rules, Proxy& proxy, FakeNames* names, UdpRelay& relay);

  void stop_protocol() override;
  void lose_transport(const DatagramTransport* transport) override;
  void datagram_received(const Datagram& datagram) override;
  void datagrams_received(const Datagrams& run) override;
  bool accepts_super_packets() const override { return true; }
  std::string name() const override { return "GateUdp"; }

  /// The counters of the ways by the proxy.
  const UdpRelayStatistics& statistics() const { return by_proxy_.statistics(); }

 private:
  void answer(const Datagrams& run);
  void relay(const Datagrams& run);

  const GateRules& rules_;
  FakeNames* names_;
  UdpRelay& relay_;
  bool has_datagrams_;  // the proxy
  ProxyUdp by_proxy_;
};

}  // namespace tunport::tool
