#pragma once
/// A gate: TCP connections to any destination that is routed into an interface, accepted by the program as
/// the kernel's own sockets.
///
///     AsioReactor reactor{io};
///     Gate gate{reactor, "tun0", {.port = {.interface = {.addresses = {"10.0.0.1/24"}, .up = true}}}};
///     gate.start();
///     for (;;) {
///       GateRequest request = co_await gate.async_request(asio::use_awaitable);  // a SYN is held
///       // request.destination(); request.refuse(); or:
///       asio::ip::tcp::socket client = co_await request.async_accept(asio::use_awaitable);
///     }
///
/// Theory. The gate reads the clients' packets from a TUN, and gives them to a listener of the same kernel,
/// with other addresses (gate/tcp_gate_internal.hpp): the kernel does TCP, and the gate rewrites headers, of
/// super-packets whole. The listener lives in the interface's network namespace; outgoing sockets of the
/// program live wherever the program makes them. The interface needs an address of each family that is to be
/// served: the listener is bound to the address, and to the interface, so nobody reaches the listener but
/// through the gate.
///
/// The kernel must take what the gate writes: a firewall that drops input from the interface, or a filter of
/// reverse paths (rp_filter) that knows no route to the clients' destinations by the interface, lets every
/// connection time out.

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "tunport/base/unique_fd.hpp"
#include "tunport/gate/gate_options.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

class Gate;

namespace detail {
struct GateState;
/// `async_request` and `async_accept`: as asio_gate.hpp has them, or an error that says so.
template <class Token, class = void>
struct AsyncGate {
  static void request(const auto&...) {
    static_assert(sizeof(Token) == 0, "async_request needs #include <tunport/gate/asio_gate.hpp>");
  }
  static void accept(const auto&...) {
    static_assert(sizeof(Token) == 0, "async_accept needs #include <tunport/gate/asio_gate.hpp>");
  }
};
}  // namespace detail

/// A connection that a client asks for, and that waits for the program's decision: the client's SYN is held,
/// the client knows nothing yet. So an outgoing connection can be made first, and the client sees its
/// outcome. A request that is destroyed without a decision is refused with a reset. May outlive the gate,
/// without effect then.
class GateRequest {
 public:
  /// Called with the connected socket, non-blocking and close-on-exec; or with the error, and no socket.
  using AcceptHandler = std::function<void(const std::error_code& ec, UniqueFd socket)>;

  /// No request.
  GateRequest() = default;
  GateRequest(GateRequest&&) noexcept = default;
  GateRequest& operator=(GateRequest&& other) noexcept;
  ~GateRequest();

  /// The client's address and port.
  const Endpoint& source() const { return source_; }
  /// The address and port that the client connects to.
  const Endpoint& destination() const { return destination_; }
  /// True while a decision is due: not decided, and the client has not given up, as far as known.
  explicit operator bool() const;

  /// Accepts: the SYN goes to the kernel. The reactor calls `handler` when the connection stands, or with an
  /// error: `operation_aborted` (the gate has ended, or there is nothing to decide), ETIMEDOUT or ECONNRESET
  /// (the client has gone). Trying again does not help.
  void accept(AcceptHandler handler);
  /// The loop of the gate. Precondition: made by a gate.
  Reactor& reactor() const { return *reactor_; }
  /// Refuses. No effect if there is nothing to decide.
  void refuse(GateRefusal how = GateRefusal::reset);
  /// `accept` with a completion token: `asio::ip::tcp::socket s = co_await
  /// request.async_accept(asio::use_awaitable)`. Needs tunport/gate/asio_gate.hpp.
  template <class Token>
  auto async_accept(Token&& token) {
    return detail::AsyncGate<Token>::accept(*this, token);
  }

 private:
  friend Gate;
  friend struct detail::GateState;
  template <class Token, class>
  friend struct detail::AsyncGate;

  std::weak_ptr<detail::GateState> gate_;
  Reactor* reactor_ = nullptr;
  std::uint64_t id_ = 0;
  Endpoint source_;
  Endpoint destination_;
};

/// See the theory above. For the reactor's thread. The reactor outlives the gate.
class Gate {
 public:
  /// Called with each request.
  using RequestHandler = std::function<void(const std::error_code& ec, GateRequest request)>;

  /// On a TUN that `start` opens by name. Throws std::invalid_argument for options out of range.
  Gate(Reactor& reactor, std::string name, GateOptions options = {});
  /// On an open TUN, and on listening sockets for its interface, one of each family to be served (`listen`):
  /// for a device of a namespace that the program cannot enter. Without sockets, `start` opens them.
  Gate(Reactor& reactor, Device device, std::vector<UniqueFd> listeners, GateOptions options = {});
  /// Ends the gate as `stop`. Accepted sockets stay open, and lose their clients.
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Opens the interface and the listeners. Throws `CannotListenError`, or `Error` with EADDRNOTAVAIL for an
  /// interface without an address; nothing is open then.
  void start();
  /// Ends: requests that wait get `operation_aborted`, and the interface is closed.
  void stop();

  /// Takes the next request, once: calls `handler` from the reactor, with the request, or with
  /// `operation_aborted` (stopped) or `device_gone`. Several calls take several requests, in order.
  void take_request(RequestHandler handler);
  /// `take_request` with a completion token. Needs tunport/gate/asio_gate.hpp, and an `AsioReactor`.
  template <class Token>
  auto async_request(Token&& token) {
    return detail::AsyncGate<Token>::request(*this, token);
  }

  /// The UDP of the interface: `gate.udp().add_default(protocol)` takes the datagrams to any destination.
  UdpDemux& udp();
  /// The protocols behind the IP protocol numbers other than TCP, UDP and ICMP; see `IpDemux::add_proto`.
  /// Behind ICMP stands an `EchoRelay`: pings go on by sockets of the program's.
  IpDemux& ip();
  /// The port on the interface.
  TuntapPort& port();
  const TuntapPort& port() const;
  /// The counters.
  const GateStatistics& statistics() const;
  /// The connections that stand, are being made, or wait for a decision.
  std::size_t flows() const;
  /// The loop of the gate.
  Reactor& reactor() const;

  /// A listening socket for a gate, made in the calling thread's namespace: bound to `address`, a free port
  /// and `interface`. Throws `Error`.
  static UniqueFd listen(const std::string& interface, const IpAddress& address);

 private:
  std::shared_ptr<detail::GateState> state_;
};

}  // namespace tunport
