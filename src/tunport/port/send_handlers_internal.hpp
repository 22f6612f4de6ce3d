#pragma once
/// The handlers of queued sends.

#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
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
  /// Keeps the handler of a send until `done(ticket)`.
  void await(Ticket ticket, Handler handler) { sends_.try_emplace(ticket, Send{std::move(handler), {}}); }
  /// Forgets a send: its handler is not called.
  void forget(Ticket ticket) { sends_.erase(ticket); }
  /// Has the reactor call the handler of `ticket` with `ec`. No effect for an unknown ticket. Without memory
  /// the next call, or the port's end, tries again.
  void done(Ticket ticket, const std::error_code& ec) {
    const auto found = sends_.find(ticket);
    if (found == sends_.end()) return;
    found->second.outcome = found->second.outcome.value_or(ec);
    try_again_ |= !post(found);
    if (try_again_) post_decided();
  }
  /// Has the reactor call the handlers left over for want of memory.
  void post_decided() {
    try_again_ = false;
    for (auto next = sends_.begin(); next != sends_.end();) {
      const auto send = next++;
      if (send->second.outcome && !post(send)) try_again_ = true;
    }
  }
  /// Has the reactor call the handler of `ticket` with `operation_aborted`; the datagram is sent all the
  /// same.
  void cancel(Ticket ticket) { done(ticket, Errc::operation_aborted); }
  /// Cancels all.
  void cancel_all() {
    for (auto& [ticket, send] : sends_) send.outcome = send.outcome.value_or(Errc::operation_aborted);
    post_decided();
  }

 private:
  struct Send {
    Handler handler;
    std::optional<std::error_code> outcome;  // not yet told
  };
  using Sends = std::map<Ticket, Send>;

  /// False without memory. The handler is copied: the reactor may throw.
  bool post(Sends::iterator send) try {
    reactor_.post([handler = send->second.handler, ec = *send->second.outcome] { handler(ec); });
    sends_.erase(send);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }

  Reactor& reactor_;
  Sends sends_;
  Ticket last_ticket_ = 0;
  bool try_again_ = false;
};

/// Writes a datagram by `write(ticket)`, and has the reactor call `handler` with the outcome. Returns the
/// ticket of a queued datagram, 0 otherwise. `alive`: of the port, whose producer may destroy the port.
template <class Write>
Ticket send_with_handler(Reactor& reactor, const Lifeline::Watch& alive, std::shared_ptr<SendHandlers>& sends,
                         SendHandlers::Handler handler, Write write) {
  if (!sends) sends = std::make_shared<SendHandlers>(reactor);
  const Ticket ticket = sends->next_ticket();
  sends->await(ticket, std::move(handler));  // before the write: memory may be short
  const auto forget_after_an_exception = [&](auto call) {
    try {
      return call();
    } catch (...) {
      if (alive.alive()) sends->forget(ticket);
      throw;
    }
  };
  const WriteResult result = forget_after_an_exception([&] { return write(ticket); });
  if (!alive.alive()) return 0;  // the port's end has called the handler
  if (result.status() == WriteResult::queued) return ticket;
  sends->done(ticket, result ? std::error_code{} : error_of(result));
  return 0;
}

}  // namespace tunport
