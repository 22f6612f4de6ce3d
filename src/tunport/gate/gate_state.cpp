#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include <linux/if_addr.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/gate/gate_state_internal.hpp"
#include "tunport/gate/icmp_error_internal.hpp"

namespace tunport::detail {
namespace {

/// Closes a connection by a reset.
void reset(UniqueFd socket) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

GateOptions checked(GateOptions options) {
  if (options.max_flows == 0 || options.max_flows > 32'768)
    throw std::invalid_argument("GateOptions::max_flows is 1 to 32,768");
  if (options.max_requests == 0) throw std::invalid_argument("GateOptions::max_requests is at least 1");
  if (options.idle_timeout <= Duration::zero() || options.resets_per_second <= 0)
    throw std::invalid_argument("GateOptions: idle_timeout and resets_per_second are above 0");
  return options;
}

bool is_link_local(const Ipv6Address& address) {
  return address.octets()[0] == 0xfe && (address.octets()[1] & 0xc0) == 0x80;
}

}  // namespace

/// There is no relay for the protocol.
void GateIp::nobody_home(const IpDatagram& datagram) {
  IpDemux::nobody_home(datagram);
  FrameTransport& port = datagram.arrival.transport;
  if (datagram.protocol() == ip_protocol::no_next_header || !errors_.take(port.reactor().now())) return;
  const bool sent =
      send_icmp_error(port, datagram.destination(), datagram.source(), IcmpErrorKind::protocol,
                      datagram.ip.bytes(), static_cast<std::uint32_t>(datagram.ip.protocol_at()));
  if (sent) ++refused_;
}

GateState::GateState(Reactor& loop, std::string name, GateOptions given_options)
    : reactor{loop},
      options{checked(std::move(given_options))},
      tcp{options, statistics, [this](const FlowId& id) { requested(id); },
          [this](const FlowId& id) { expired(id); }},
      ip{[this](LinkEvent event, const LinkInfo&) { link_changed(event); }, [this] { ended(); },
         options.resets_per_second, statistics.protocols_refused},
      port{std::make_unique<TuntapPort>(loop, std::move(name), static_cast<IpPacketProtocol&>(ip),
                                        options.port)} {
  connect();
}

GateState::GateState(Reactor& loop, Device device, std::vector<UniqueFd> listening, GateOptions given_options)
    : reactor{loop},
      options{checked(std::move(given_options))},
      tcp{options, statistics, [this](const FlowId& id) { requested(id); },
          [this](const FlowId& id) { expired(id); }},
      ip{[this](LinkEvent event, const LinkInfo&) { link_changed(event); }, [this] { ended(); },
         options.resets_per_second, statistics.protocols_refused},
      port{std::make_unique<TuntapPort>(loop, std::move(device), ip, options.port)},
      given{std::move(listening)} {
  connect();
}

void GateState::connect() {
  ip.add_proto(ip_protocol::tcp, tcp);
  ip.add_proto(ip_protocol::udp, udp);
  ip.add_proto(ip_protocol::icmp, icmp);
  ip.add_proto(ip_protocol::icmpv6, icmp);
  tcp.on_listener_segment([this](FrameTransport& from, const FlowEnds& ends, const BareSegment& segment) {
    const std::size_t v6 = ends.source.is_v6() ? 1 : 0;
    const bool answers = probes[v6].heard(from, ends, segment);
    is_tested[v6] = is_tested[v6] || answers;
    return answers;
  });
}

void GateState::start() {
  stopping = false;
  port->start_listening();
  try {
    if (given.empty()) {
      open_listeners();
      probe_listeners();
    } else {
      for (UniqueFd& socket : given) listen(std::move(socket));
      given.clear();
      are_given = true;
    }
  } catch (...) {
    stop();
    throw;
  }
}

void GateState::stop() {
  stopping = true;
  port->stop_listening();
  ended();
}

void GateState::ended() {
  for (std::size_t v6 = 0; v6 < listeners.size(); ++v6) {
    listeners[v6].reset();
    tcp.lose_listener(v6 != 0);
    probes[v6].cancel();
  }
  abort(stopping ? Errc::operation_aborted : Errc::device_gone);
}

void GateState::abort(const std::error_code& ec) {
  for (auto& [number, handler] : std::exchange(accepts, {})) fail(std::move(handler), ec);
  requests.clear();
  for (Gate::RequestHandler& taker : std::exchange(takers, {}))
    reactor.post([taker = std::move(taker), ec] { taker(ec, {}); });
}

/// Opens a listener for each family of which the interface has an address, in the interface's namespace. A
/// listener whose address is there still stays.
void GateState::open_listeners() {
  const Link link = port->device().link();
  std::array<std::optional<IpAddress>, 2> wanted;
  std::error_code ec;
  const std::vector<IpPrefix> addresses = link.addresses(ec);
  if (ec) throw Error{ec, link.name()};
  for (const IpPrefix& prefix : addresses) {
    const std::size_t v6 = prefix.address.is_v6() ? 1 : 0;
    if (v6 != 0 && is_link_local(prefix.address.v6())) continue;
    const bool in_use = listeners[v6] && listeners[v6]->endpoint().address == prefix.address;
    if (!wanted[v6] || in_use) wanted[v6] = prefix.address;
  }
  if (!wanted[0] && !wanted[1])
    throw Error{errno_code(EADDRNOTAVAIL), link.name() + ": no address for a gate"};
  for (std::size_t v6 = 0; v6 < listeners.size(); ++v6) {
    if (listeners[v6] && wanted[v6] && listeners[v6]->endpoint().address == *wanted[v6]) continue;
    listeners[v6].reset();
    tcp.lose_listener(v6 != 0);
    if (!wanted[v6]) continue;
    UniqueFd socket;
    std::error_code opened;
    link.system().inside([&] { socket = GateListener::open(link.name(), *wanted[v6], opened); }, ec);
    if (ec || opened) throw Error{ec ? ec : opened, link.name() + ": listener at " + to_string(*wanted[v6])};
    listen(std::move(socket));
  }
}

void GateState::listen(UniqueFd socket) {
  auto listener = std::make_unique<GateListener>(
      reactor, std::move(socket),
      [this](UniqueFd connection, const Endpoint& peer) { accepted(std::move(connection), peer); });
  tcp.set_listener(listener->endpoint());
  const std::size_t v6 = listener->endpoint().address.is_v6() ? 1 : 0;
  listeners[v6] = std::move(listener);
}

void GateState::probe_listeners() {
  std::error_code ec;
  const std::vector<IpPrefix> addresses = port->device().link().addresses(ec);
  if (ec) return;
  for (std::size_t v6 = 0; v6 < listeners.size(); ++v6) {
    if (!listeners[v6] || is_tested[v6]) continue;
    const Endpoint& listener = listeners[v6]->endpoint();
    const auto own = std::ranges::find(addresses, listener.address, &IpPrefix::address);
    const auto source = own == addresses.end() ? std::nullopt : ListenerProbe::source_in(*own, addresses);
    if (source) probes[v6].begin(*port, listener, *source);
  }
}

void GateState::closed_way(const Endpoint& listener) const {
  if (options.on_closed_way) return options.on_closed_way(listener);
  log(LogLevel::warning, "gate",
      to_string(port->get_host()) + ": the kernel does not answer at " + to_string(listener) +
          ": a firewall drops what comes in from the interface, or rp_filter; connections will time out");
}

void GateState::restore() {
  const InterfaceOptions& wanted = options.port.interface;
  std::error_code ec;
  const Link link = asks(wanted) ? port->device().link(ec) : Link{};
  if (ec || !link) return;  // the port's end tells
  const auto tell = [&](const std::string& what) {
    if (ec && ec != std::errc::file_exists)
      log(LogLevel::warning, "gate", link.name() + ": " + what + ": " + ec.message());
  };
  for (const IpPrefix& prefix : wanted.addresses) {
    if (prefix.address.is_v4()) continue;  // stays
    link.add_interface_address({.prefix = prefix, .flags = IFA_F_NODAD}, ec);
    tell("address " + to_string(prefix));
  }
  renew_listeners();  // before clients find a route
  for (const Route& route : wanted.routes) {
    link.add_route(route, ec);
    tell("route " + to_string(route.destination));
  }
}

void GateState::renew_listeners() {
  if (are_given || !(listeners[0] || listeners[1])) return;
  try {
    open_listeners();
  } catch (const Error& error) {
    if (error.code() == Errc::device_gone || error.code() == Errc::no_such_device)
      return;  // the port's end tells
    log(LogLevel::error, "gate", error.what());
  }
}

void GateState::link_changed(LinkEvent event) {
  if (event == LinkEvent::up) {
    restore();
    if (!are_given) probe_listeners();
  }
  if (event == LinkEvent::addresses_changed) renew_listeners();
}

void GateState::requested(const FlowId& id) {
  // Requests that have expired go now and then, so that a flood without a taker is bounded.
  if (requests.size() >= 2 * options.max_requests)
    std::erase_if(requests, [this](const FlowId& waiting) { return !tcp.ends(waiting); });
  requests.push_back(id);
  match();
}

void GateState::expired(const FlowId& id) {
  const auto found = accepts.find(number_of(id));
  if (found == accepts.end()) return;
  GateRequest::AcceptHandler handler = std::move(found->second);
  accepts.erase(found);
  fail(std::move(handler), errno_code(ETIMEDOUT));
}

void GateState::accepted(UniqueFd socket, const Endpoint& peer) {
  const auto id = tcp.accepted(peer);
  const auto found = id ? accepts.find(number_of(*id)) : accepts.end();
  if (found == accepts.end()) return reset(std::move(socket));
  GateRequest::AcceptHandler handler = std::move(found->second);
  accepts.erase(found);
  handler({}, std::move(socket));
}

void GateState::take_request(Gate::RequestHandler handler) {
  takers.push_back(std::move(handler));
  match();
}

void GateState::match() {
  if (match_is_due || takers.empty() || requests.empty()) return;
  match_is_due = true;
  reactor.post([weak = weak_from_this()] {
    const auto state = weak.lock();
    if (!state) return;
    state->match_is_due = false;
    while (!state->takers.empty() && !state->requests.empty()) {
      const FlowId id = state->requests.front();
      state->requests.pop_front();
      const auto ends = state->tcp.ends(id);
      if (!ends) continue;  // the client has gone meanwhile
      GateRequest request;
      request.gate_ = weak;
      request.reactor_ = &state->reactor;
      request.id_ = number_of(id);
      request.source_ = {ends->source, ends->source_port};
      request.destination_ = {ends->destination, ends->destination_port};
      const Gate::RequestHandler taker = std::move(state->takers.front());
      state->takers.pop_front();
      taker({}, std::move(request));
    }
  });
}

void GateState::accept(const FlowId& id, GateRequest::AcceptHandler handler) {
  GateRequest::AcceptHandler& place = accepts[number_of(id)];
  place = std::move(handler);
  // The write of the SYN may end in an event of its own, which may have ended the wait.
  if (tcp.admit(id)) return;
  const auto found = accepts.find(number_of(id));
  if (found == accepts.end()) return;
  GateRequest::AcceptHandler lost = std::move(found->second);
  accepts.erase(found);
  fail(std::move(lost), errno_code(ECONNRESET));
}

void GateState::fail(GateRequest::AcceptHandler handler, const std::error_code& ec) {
  reactor.post([handler = std::move(handler), ec] { handler(ec, {}); });
}

}  // namespace tunport::detail
