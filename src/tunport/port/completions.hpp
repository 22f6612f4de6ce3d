#pragma once
/// Receiving and sending one by one, each with a handler of its own: what stands behind
/// `TuntapPort::async_receive` and `async_send`. Needs no Asio; `asio_completion.hpp` puts completion tokens
/// on top.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <system_error>

#include "tunport/port/protocol.hpp"

namespace tunport {

class TuntapPort;

/// The protocol of a port that was given none, and the sends that wait. Made by `TuntapPort`.
class Completions final : public FrameProtocol, public std::enable_shared_from_this<Completions> {
 public:
  /// The packet lies in the caller's buffer; with an error there is none.
  using ReceiveHandler = std::function<void(const std::error_code& ec, const Packet& packet)>;
  using SendHandler = std::function<void(const std::error_code& ec)>;

  explicit Completions(TuntapPort& port) : port_{&port} {}

  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// The handler is called, by the reactor, with `operation_aborted`. No effect if none waits.
  void cancel_receive() { end_receive(Errc::operation_aborted); }
  /// The same, with what ended the port.
  void fail_receive(const std::error_code& why) { end_receive(why); }
  /// Remembers a send that was queued; the ticket comes back to `send_done`.
  void await(std::uint64_t ticket, SendHandler handler) { sends_.emplace(ticket, std::move(handler)); }
  /// The handler is called with `operation_aborted`; what was queued goes out all the same.
  void cancel_send(std::uint64_t ticket);
  void send_done(std::uint64_t ticket, const std::error_code& ec);
  /// The port goes: whatever waits is aborted.
  void port_gone();

  void start_protocol() override;
  void stop_protocol() override { end_receive(Errc::operation_aborted); }
  void frame_received(const Packet& packet) override;
  std::string name() const override { return "Completions"; }

 private:
  struct Pending {
    MutableBytes buffer;
    ReceiveHandler handler;
  };
  void end_receive(const std::error_code& why);

  TuntapPort* port_;
  Pending pending_;
  std::map<std::uint64_t, SendHandler> sends_;
};

}  // namespace tunport
