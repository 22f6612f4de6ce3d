#pragma once
/// UDP by a SOCKS5 proxy (RFC 1928 7).
///
/// Theory. A flow is a client's address and port together with a destination's, and has an association of its
/// own: a connection to the proxy for as long as the flow lasts, and a UDP socket connected to the address
/// that the proxy names. So every answer on the socket is the flow's, also where the destination was asked
/// for by name, and proxies that tie an association to one port of a client are content. Each datagram has a
/// header in front, made once for the flow; datagrams in fragments (FRAG) are dropped. Answers from elsewhere
/// than the asked address and port are dropped; behind a name the port counts alone.
///
/// Datagrams wait while the association is made, up to a bound. Without an association they are refused, and
/// after a proxy that knows no associations further flows are refused at once for half a minute. The end of
/// the connection ends the flow; the next datagram makes another.

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "tunport/event/reactor.hpp"
#include "tunport/gate/udp_relay.hpp"
#include "tunport/port/datagram.hpp"
#include "tunport/port/write_result.hpp"

#include "proxy_connection.hpp"

namespace tunport::tool {

/// The source in the header of a datagram from the proxy, and the payload. A source by name has no address.
struct ProxyDatagram {
  std::optional<IpAddress> source;
  std::uint16_t port = 0;
  Bytes payload;
};
/// Reads a datagram of the proxy's. Nothing for a fragment and for a malformed one.
std::optional<ProxyDatagram> read_proxy_datagram(Bytes bytes);
/// The header in front of a datagram to the proxy; with `name` by name.
std::string proxy_datagram_header(const Endpoint& destination, const std::string& name);
/// Where the datagrams of an association go: `bound`, the proxy's answer, or the proxy's own address where
/// the answer has none. Nothing for an answer that leads astray: to a group, to no port, or to this machine's
/// loopback by a proxy elsewhere.
std::optional<Endpoint> association_endpoint(const std::optional<Endpoint>& bound, const IpAddress& proxy);

/// See the theory above. For the reactor's thread. The reactor and the proxy outlive it.
class ProxyUdp {
 public:
  struct Options {
    std::size_t flows = 1024;                      ///< at a time, two descriptors each; at least 1
    Duration idle = std::chrono::minutes{2};       ///< as `UdpRelayOptions::idle`
    Duration idle_dns = std::chrono::seconds{10};  ///< as `UdpRelayOptions::idle_dns`
    std::size_t waiting = std::size_t{1} << 20;    ///< bytes of all datagrams that wait for associations
    /// Sends an answer to a client.
    std::function<bool(const ReplyTo& ticket, Bytes data)> answer;
    /// Tells a client that its datagram was refused.
    std::function<void(const Datagrams& run)> refuse;
  };

  ProxyUdp(Reactor& reactor, Proxy& proxy, Options options);
  ~ProxyUdp();
  ProxyUdp(const ProxyUdp&) = delete;
  ProxyUdp& operator=(const ProxyUdp&) = delete;

  /// Sends the datagrams of a flow that stands. False: there is none.
  bool send(const Datagrams& run);
  /// Makes a flow, and sends the datagrams. With `name` the destination is reached by name.
  void begin(const Datagrams& run, const std::string& name);
  /// Ends every flow.
  void end_flows();
  std::size_t flows() const { return flows_.size(); }
  const UdpRelayStatistics& statistics() const { return statistics_; }

 private:
  struct Key {
    Endpoint source;
    Endpoint destination;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept {
      const std::size_t first = std::hash<Endpoint>{}(key.source);
      return first ^ (std::hash<Endpoint>{}(key.destination) + 0x9e3779b9U + (first << 6) + (first >> 2));
    }
  };
  class Flow;
  using Place = std::list<Flow>::iterator;

  void end(Flow& flow);
  void sweep();

  Reactor& reactor_;
  Proxy& proxy_;
  Options options_;
  UdpRelayStatistics statistics_;
  std::size_t waiting_ = 0;               // bytes
  std::optional<TimePoint> unsupported_;  // when the proxy said so
  std::list<Flow> flows_;                 // by the client's last datagram, the newest first
  std::unordered_map<Key, Place, KeyHash> places_;
  std::list<Flow> ended_;  // a callback of theirs may be at work
  std::unique_ptr<std::byte[]> buffer_;
  Reactor::Timer timer_;
  Reactor::Timer clearing_;
};

}  // namespace tunport::tool
