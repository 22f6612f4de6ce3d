#pragma once
/// The outstanding receives and sends of a port.

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "tunport/port/completions_internal.hpp"
#include "tunport/port/send_handlers_internal.hpp"

namespace tunport {

/// Both parts are made when needed, and shared with cancellations only, which may outlive the port.
template <class Completions>
class Operations {
 public:
  using ReceiveHandler = typename Completions::ReceiveHandler;

  /// Makes the protocol of a port without a protocol.
  template <class Port>
  typename Port::Protocol* take_packets(Port& port) {
    completions_ = std::make_shared<Completions>(port);
    return completions_.get();
  }
  /// True if `protocol` is the one of `take_packets`.
  bool takes_packets(const Protocol* protocol) const {
    return completions_ && protocol == completions_.get();
  }
  /// Aborts what is outstanding: the port is being destroyed.
  void end() {
    if (completions_) completions_->port_gone();
    if (sends_) sends_->cancel_all();
  }

  /// As the port's `receive`. Throws std::logic_error unless `protocol` is the one of `take_packets`.
  void receive(const Protocol* protocol, const std::string& log_prefix, MutableBytes buffer,
               ReceiveHandler handler) {
    if (!takes_packets(protocol))
      throw std::logic_error(log_prefix + ": the packets of this port go to its protocol");
    completions_->receive(buffer, std::move(handler));
  }
  /// Ends the outstanding receive with `why`, the reason of the port's end; no error: the end itself aborts
  /// the receive.
  void fail_receive(const std::error_code& why) {
    if (sends_) sends_->post_decided();
    if (why && completions_) completions_->fail_receive(why);
  }
  void cancel_receive() {
    if (completions_) completions_->cancel_receive();
  }
  std::function<void()> receive_canceller() const {
    return [weak = std::weak_ptr{completions_}] {
      if (const auto completions = weak.lock()) completions->cancel_receive();
    };
  }

  /// As `send_with_handler`.
  template <class Write>
  Ticket send(Reactor& reactor, const Lifeline::Watch& alive, SendHandlers::Handler handler, Write write) {
    return send_with_handler(reactor, alive, sends_, std::move(handler), write);
  }
  /// The queued send of `ticket` is sent, or dropped with `ec`.
  void send_done(Ticket ticket, const std::error_code& ec) {
    if (sends_) sends_->done(ticket, ec);
  }
  void cancel_send(Ticket ticket) {
    if (sends_) sends_->cancel(ticket);
  }
  std::function<void()> send_canceller(Ticket ticket) const {
    return [weak = std::weak_ptr{sends_}, ticket] {
      if (const auto sends = weak.lock()) sends->cancel(ticket);
    };
  }

 private:
  std::shared_ptr<Completions> completions_;
  std::shared_ptr<SendHandlers> sends_;
};

}  // namespace tunport
