#pragma once
/// The parts of a gate, and the program's waiting calls.

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/gate/echo_relay.hpp"
#include "tunport/gate/gate.hpp"
#include "tunport/gate/gate_listener_internal.hpp"
#include "tunport/gate/listener_probe_internal.hpp"
#include "tunport/gate/tcp_gate_internal.hpp"
#include "tunport/wire/icmpv6.hpp"

namespace tunport::detail {

/// The IP of a gate, which hears of the interface.
class GateIp final : public IpDemux {
 public:
  GateIp(std::function<void(LinkEvent, const LinkInfo&)> link_changed, std::function<void()> ended,
         double errors_per_second, std::uint64_t& refused)
      : link_changed_{std::move(link_changed)},
        ended_{std::move(ended)},
        errors_{errors_per_second, errors_at_once},
        refused_{refused} {}
  void stop_protocol() override {
    IpDemux::stop_protocol();
    ended_();
  }
  void link_changed(LinkEvent event, const LinkInfo& link) override { link_changed_(event, link); }
  std::string name() const override { return "Gate"; }

 protected:
  void nobody_home(const IpDatagram& datagram) override;

 private:
  static constexpr double errors_at_once = 100;

  std::function<void(LinkEvent, const LinkInfo&)> link_changed_;
  std::function<void()> ended_;
  TokenBucket errors_;
  std::uint64_t& refused_;
};

/// Shared with the requests, which may outlive the gate.
struct GateState : std::enable_shared_from_this<GateState> {
  GateState(Reactor& loop, std::string name, GateOptions given);
  GateState(Reactor& loop, Device device, std::vector<UniqueFd> listening, GateOptions given);
  /// Makes the connections between the parts.
  void connect();

  void start();
  void stop();
  /// The port has ended, for whatever reason.
  void ended();
  /// Ends every waiting call with the error.
  void abort(const std::error_code& ec);
  void open_listeners();
  void listen(UniqueFd socket);
  /// Begins the tests of the ways to the listeners that are not known to be open.
  void probe_listeners();
  void closed_way(const Endpoint& listener) const;
  /// Puts back what the options ask for, after the link was down: the kernel takes the routes of an interface
  /// that is set down, and its IPv6 addresses.
  void restore();
  /// Opens the listeners anew whose address has changed.
  void renew_listeners();
  void link_changed(LinkEvent event);
  void requested(const FlowId& id);
  void expired(const FlowId& id);
  void accepted(UniqueFd socket, const Endpoint& peer);
  void take_request(Gate::RequestHandler handler);
  /// Gives waiting requests to waiting calls.
  void match();
  void accept(const FlowId& id, GateRequest::AcceptHandler handler);
  /// Has the reactor call `handler` with an error.
  void fail(GateRequest::AcceptHandler handler, const std::error_code& ec);

  static std::uint64_t number_of(const FlowId& id) { return std::uint64_t{id.generation} << 32 | id.place; }
  static FlowId id_of(std::uint64_t number) {
    return {static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32)};
  }

  Reactor& reactor;
  GateOptions options;
  GateStatistics statistics;
  std::deque<FlowId> requests;  // not given to the program yet
  std::deque<Gate::RequestHandler> takers;
  std::unordered_map<std::uint64_t, GateRequest::AcceptHandler> accepts;  // by flow
  bool match_is_due = false;
  bool stopping = false;  // by the program
  TcpGate tcp;
  /// Pings go on by sockets of the program's; errors about connections are translated.
  EchoRelay icmp{reactor, {.target = options.ping_target, .on_error = [this](const IpDatagram& datagram) {
                             return tcp.error_received(datagram);
                           }}};
  UdpDemux udp;
  GateIp ip;
  std::unique_ptr<TuntapPort> port;
  std::vector<UniqueFd> given;  // listening sockets, before the start
  bool are_given = false;       // the listeners stay, whatever addresses the interface has
  std::array<std::unique_ptr<GateListener>, 2> listeners;  // of IPv4 and IPv6
  std::array<ListenerProbe, 2> probes{ListenerProbe{reactor, [this](const Endpoint& at) { closed_way(at); }},
                                      ListenerProbe{reactor, [this](const Endpoint& at) { closed_way(at); }}};
  std::array<bool, 2> is_tested{};  // once is enough
};

}  // namespace tunport::detail
