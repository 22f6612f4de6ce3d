#pragma once
/// The handlers of queued sends.

#include <functional>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/base/lifeline.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/outbox_owner.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// Handlers by ticket. The reactor calls each, once.
class SendHandlers {
 public:
  using Handler = std::function<void(const std::error_code& ec)>;

  explicit SendHandlers(Reactor& reactor) : reactor_{reactor} {}

  /// A ticket for the next send.
  Ticket next_ticket() { return ++last_ticket_; }
  /// Keeps the handler of a queued send until `done(ticket)`.
  void await(Ticket ticket, Handler handler) { handlers_.emplace(ticket, std::move(handler)); }
  /// Has the reactor call the handler of `ticket` with `ec`. No effect for an unknown ticket.
  void done(Ticket ticket, const std::error_code& ec) {
    const auto found = handlers_.find(ticket);
    if (found == handlers_.end()) return;
    reactor_.post([handler = std::move(found->second), ec] { handler(ec); });
    handlers_.erase(found);
  }
  /// Has the reactor call the handler of `ticket` with `operation_aborted`; the datagram is sent all the
  /// same.
  void cancel(Ticket ticket) { done(ticket, Errc::operation_aborted); }
  /// Cancels all.
  void cancel_all() {
    while (!handlers_.empty()) cancel(handlers_.begin()->first);
  }

 private:
  Reactor& reactor_;
  std::map<Ticket, Handler> handlers_;
  Ticket last_ticket_ = 0;
};

/// Writes a datagram by `write(ticket)`, and has the reactor call `handler` with the outcome. Returns the
/// ticket of a queued datagram, 0 otherwise. `alive`: of the port, whose producer may destroy the port.
template <class Write>
Ticket send_with_handler(Reactor& reactor, const Lifeline::Watch& alive, std::shared_ptr<SendHandlers>& sends,
                         SendHandlers::Handler handler, Write write) {
  if (!sends) sends = std::make_shared<SendHandlers>(reactor);
  const Ticket ticket = sends->next_ticket();
  const WriteResult result = write(ticket);
  const bool queued = result.status() == WriteResult::queued;
  if (queued && alive.alive()) {
    sends->await(ticket, std::move(handler));
    return ticket;
  }
  std::error_code ec;
  if (queued)
    ec = Errc::operation_aborted;
  else if (!result)
    ec = error_of(result);
  reactor.post([handler = std::move(handler), ec] { handler(ec); });
  return 0;
}

}  // namespace tunport
