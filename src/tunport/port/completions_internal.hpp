#pragma once
/// Single receives and sends, each with a handler of its own: the interior of `TuntapPort::async_receive` and
/// `async_send`. Needs no Asio; `asio_completion.hpp` puts completion tokens on top.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <system_error>

#include "tunport/offload/segmenter.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport {

/// The protocol of a port made without a protocol, and the list of queued sends. Made by `TuntapPort`. The
/// port is paused while no receive is outstanding. A super-packet is taken whole, and copied: receives take
/// its datagrams one by one, and the port reads on behind the last datagram.
class Completions final : public FrameProtocol, public std::enable_shared_from_this<Completions> {
 public:
  using ReceiveHandler = TuntapPort::ReceiveHandler;
  using SendHandler = TuntapPort::SendHandler;

  explicit Completions(TuntapPort& port) : port_{&port} {}

  /// As `TuntapPort::receive`.
  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// Has the reactor call the handler with `operation_aborted`. No effect without an outstanding receive.
  void cancel_receive() { end_receive(Errc::operation_aborted); }
  /// Has the reactor call the handler with `why`, the reason of the port's end.
  void fail_receive(const std::error_code& why) { end_receive(why); }
  /// Keeps the handler of a queued send until `send_done(ticket)`.
  void await(Ticket ticket, SendHandler handler) { sends_.emplace(ticket, std::move(handler)); }
  /// Has the reactor call the handler with `operation_aborted`; the queued datagram is sent all the same.
  void cancel_send(Ticket ticket);
  /// Has the reactor call the handler of `ticket` with `ec`. No effect for an unknown ticket.
  void send_done(Ticket ticket, const std::error_code& ec);
  /// Aborts the outstanding receive and sends: the port is being destroyed.
  void port_gone();

  void start_protocol() override;
  void stop_protocol() override;
  bool accepts_super_packets() const override { return true; }
  void frame_received(const Packet& packet) override;
  std::string name() const override { return "Completions"; }

 private:
  struct Pending {
    MutableBytes buffer;
    ReceiveHandler handler;
  };
  /// A super-packet being received datagram by datagram.
  struct Kept {
    std::unique_ptr<std::byte[]> bytes = std::make_unique_for_overwrite<std::byte[]>(max_super_packet);
    Segmenter segmenter;
  };

  bool has_kept() const { return kept_ && !kept_->segmenter.done(); }
  void keep(const PacketOrigin& packet);
  void give(Bytes datagram, bool truncated);
  void give_kept();
  void end_receive(const std::error_code& why);

  TuntapPort* port_;
  Pending pending_;
  std::unique_ptr<Kept> kept_;  // allocated with the first super-packet
  std::map<Ticket, SendHandler> sends_;
};

}  // namespace tunport
