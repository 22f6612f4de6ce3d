#include "tunport/gate/gate.hpp"

#include <cerrno>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/gate/gate_state_internal.hpp"

namespace tunport {

GateRefusal refusal_for(const std::error_code& ec) {
  const std::error_condition condition = ec.default_error_condition();
  if (condition == std::errc::network_unreachable || condition == std::errc::network_down)
    return GateRefusal::network_unreachable;
  if (condition == std::errc::host_unreachable || ec.value() == EHOSTDOWN)
    return GateRefusal::host_unreachable;
  if (condition == std::errc::permission_denied || condition == std::errc::operation_not_permitted)
    return GateRefusal::prohibited;
  if (condition == std::errc::timed_out) return GateRefusal::drop;
  return GateRefusal::reset;
}

GateRequest& GateRequest::operator=(GateRequest&& other) noexcept {
  if (this != &other) {
    refuse();
    gate_ = std::move(other.gate_);
    reactor_ = other.reactor_;
    id_ = other.id_;
    source_ = other.source_;
    destination_ = other.destination_;
  }
  return *this;
}

GateRequest::~GateRequest() { refuse(); }

GateRequest::operator bool() const {
  const auto gate = gate_.lock();
  return gate != nullptr && gate->tcp.ends(detail::GateState::id_of(id_)).has_value();
}

void GateRequest::accept(AcceptHandler handler) {
  const auto gate = std::exchange(gate_, {}).lock();
  if (gate) return gate->accept(detail::GateState::id_of(id_), std::move(handler));
  if (reactor_ != nullptr)
    reactor_->post([handler = std::move(handler)] { handler(Errc::operation_aborted, {}); });
}

void GateRequest::refuse(GateRefusal how) {
  if (const auto gate = std::exchange(gate_, {}).lock()) gate->tcp.refuse(detail::GateState::id_of(id_), how);
}

Gate::Gate(Reactor& reactor, std::string name, GateOptions options)
    : state_{std::make_shared<detail::GateState>(reactor, std::move(name), std::move(options))} {}

Gate::Gate(Reactor& reactor, Device device, std::vector<UniqueFd> listeners, GateOptions options)
    : state_{std::make_shared<detail::GateState>(reactor, std::move(device), std::move(listeners),
                                                 std::move(options))} {}

Gate::~Gate() {
  state_->stopping = true;
  state_->abort(Errc::operation_aborted);
}

void Gate::start() { state_->start(); }
void Gate::stop() { state_->stop(); }
void Gate::take_request(RequestHandler handler) { state_->take_request(std::move(handler)); }
UdpDemux& Gate::udp() { return state_->udp; }
IpDemux& Gate::ip() { return state_->ip; }
TuntapPort& Gate::port() { return *state_->port; }
const TuntapPort& Gate::port() const { return *state_->port; }
const GateStatistics& Gate::statistics() const { return state_->statistics; }
std::size_t Gate::flows() const { return state_->tcp.flows(); }
Reactor& Gate::reactor() const { return state_->reactor; }

UniqueFd Gate::listen(const std::string& interface, const IpAddress& address) {
  std::error_code ec;
  UniqueFd socket = GateListener::open(interface, address, ec);
  if (ec) throw Error{ec, interface + ": listener at " + to_string(address)};
  return socket;
}

}  // namespace tunport
