#pragma once
/// A port on a plain UDP socket: the protocols and the port of a tunnel, without a tunnel.

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "tunport/base/function_ref.hpp"
#include "tunport/port/async_calls.hpp"
#include "tunport/port/base_port.hpp"
#include "tunport/port/function_protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The options of a sent datagram.
struct SendOptions {
  /// The source address, an address of this host; by default the kernel's choice. A foreign address is
  /// refused: `no_route`, or `kernel_refused` on IPv6.
  std::optional<IpAddress> from = {};
  /// DSCP and ECN; by default as `SocketOptions::traffic_class`.
  std::optional<std::uint8_t> traffic_class = {};
};

/// Room around each datagram of a tunnel packet, in bytes: for a header, a nonce, a tag of the program's own.
struct SegmentRoom {
  std::size_t before = 0;
  std::size_t behind = 0;
};

/// Sends and receives UDP datagrams of the operating system, IPv4 or IPv6. Made closed; `start_listening`
/// binds.
///
///     UdpPort port{reactor, {*IpAddress::parse("127.0.0.1"), 0}, answer};
///     port.start_listening();  // port.get_host().port is the system's choice
///
/// Within a burst, and under a `Cork`, datagrams of equal size to the same receiver are gathered, and sent in
/// a single call (UDP_SEGMENT); runs for several receivers leave together. Datagrams received in a single
/// call (UDP_GRO) are delivered datagram by datagram, or as a run to a protocol that accepts super-packets.
/// `PortOptions::offload` without `uso` switches both off. Up to eight short datagrams are read in a call: a
/// pause takes effect behind them. A port that reads too late loses datagrams in the kernel: the losses are
/// counted as `receive_overflow` with the next received datagram.
///
/// A port on the wildcard address answers from the asked address. ICMP errors to sent datagrams are counted
/// (`errors`), and told to the protocol (`error_received`); the port goes on.
///
/// An IPv6 port takes IPv6 only. `PortOptions::max_packet_size` counts the payload; longer datagrams are
/// dropped as `truncated`. Lifetimes and threads as with `TuntapPort`.
class UdpPort final : public BasePort, public DatagramTransport {
 public:
  /// A port for the address `local`; port 0 is the system's choice.
  UdpPort(Reactor& reactor, const Endpoint& local, DatagramProtocol& protocol, PortOptions options = {});
  /// A port on the calling thread's `default_reactor()`.
  UdpPort(const Endpoint& local, DatagramProtocol& protocol, PortOptions options = {});
  /// Without a protocol: `receive` or `async_receive` takes datagrams one by one.
  UdpPort(Reactor& reactor, const Endpoint& local, PortOptions options = {});
  ~UdpPort() override;

  /// The kind of protocol, and the result of a receive.
  using Protocol = DatagramProtocol;
  using Received = Datagram;
  /// Called with the datagram received into the given buffer; with an error the datagram is empty.
  using ReceiveHandler = std::function<void(const std::error_code& ec, const Datagram& datagram)>;
  /// Called when a datagram is sent, or with the error.
  using SendHandler = std::function<void(const std::error_code& ec)>;

  /// The socket's descriptor; -1 when closed.
  int fileno() const override;
  /// Clears a pending error of the socket, and tells the errors of sent datagrams. The reactor calls
  /// `do_error`.
  void do_error() override;

  /// Sends one datagram, possibly empty. Copied or sent on return. Refused: `too_long`, `no_route` (also for
  /// an address of the other family), `not_listening`, `link_down`, `no_buffers`, `queue_full`,
  /// `kernel_refused`. Transient are link_down, no_buffers and queue_full.
  WriteResult write_to(const Endpoint& to, Bytes data) override;
  /// Sends one datagram with its own options. As `write_to`.
  WriteResult write_to(const Endpoint& to, Bytes data, const SendOptions& how);
  /// Answers a datagram received by the port. As `write_to`; `no_route` for a ticket of another port.
  WriteResult reply(const ReplyTo& ticket, Bytes data) override;
  /// Sends a packet of a tunnel port, as delivered: each datagram of a super-packet as one UDP datagram
  /// behind `header`, with complete checksums, copied on return. The datagrams leave in few calls of the
  /// kernel (UDP_SEGMENT, linux/udp.h). The packet is not changed, but for a checksum left to fill. Returns
  /// the first refusal, after trying the rest. Refused as with `write_to`, and as `truncated`, or
  /// `bad_offload` for a packet whose segments were made in place.
  WriteResult write_segments(const Endpoint& to, const Packet& packet, Bytes header = {});
  /// As above, with `seal` called for each datagram: `room.before` bytes, the datagram, `room.behind` bytes,
  /// to be changed in place. The bytes of the room are not initialized. `seal` must neither use nor destroy
  /// the port; its exception is passed on, and the datagram and the rest of the packet are dropped as
  /// `aborted`.
  WriteResult write_segments(const Endpoint& to, const Packet& packet, SegmentRoom room,
                             FunctionRef<void(MutableBytes)> seal);
  /// Sends one datagram to `SocketOptions::peer`. As `write_to`. Throws std::logic_error without a peer.
  WriteResult write(Bytes data);
  /// Tries once to send a datagram to `SocketOptions::peer`, without queueing. Returns the bytes taken, or
  /// zero with `ec` set: EDESTADDRREQ without a peer, EAGAIN while datagrams are queued.
  std::size_t write_some_data(Bytes data, std::error_code& ec) override;
  /// Counts the datagram being delivered as dropped.
  void drop(DropReason reason) override;
  /// The reactor given to the constructor.
  Reactor& reactor() const override { return BasePort::reactor(); }

  /// Joins a multicast group, on an interface or, with an empty name, by the routes (ip(7),
  /// IP_ADD_MEMBERSHIP). The membership lasts until `leave` or the port's end. Throws `Error`:
  /// `not_listening`, EINVAL for an address that is no group, EAFNOSUPPORT for the other family, ENODEV
  /// without the interface, EADDRINUSE for a member.
  void join(const IpAddress& group, const std::string& interface_name = {});
  /// As the throwing form, with the error in `ec`.
  void join(const IpAddress& group, const std::string& interface_name, std::error_code& ec);
  /// Leaves a group. As `join`; EADDRNOTAVAIL without a membership.
  void leave(const IpAddress& group, const std::string& interface_name = {});
  /// As the throwing form, with the error in `ec`.
  void leave(const IpAddress& group, const std::string& interface_name, std::error_code& ec);

  /// Receives one datagram into `buffer`, which is borrowed until `handler` is called. As
  /// `TuntapPort::receive`.
  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// Sends one datagram, copied or sent on return. As `TuntapPort::send`; EHOSTUNREACH for an address without
  /// a route, or of the other family.
  Ticket send(const Endpoint& to, Bytes data, SendHandler handler);
  /// Ends the outstanding receive with `operation_aborted`. No effect without a receive.
  void cancel_receive();
  /// Calls the handler of a queued send with `operation_aborted`; the datagram is sent all the same.
  void cancel_send(Ticket ticket);
  /// `receive` with a completion token: `Datagram d = co_await port.async_receive(asio::buffer(b),
  /// asio::use_awaitable);` Needs tunport/asio.hpp, and a port on an `AsioReactor`. Cancellable.
  template <class Token>
  auto async_receive(const asio::mutable_buffer& buffer, Token&& token) {
    return detail::AsyncCalls<Token>::receive(*this, buffer, token);
  }
  /// `send` with a completion token. As `async_receive`.
  template <class Token>
  auto async_send(const Endpoint& to, Bytes data, Token&& token) {
    return detail::AsyncCalls<Token>::send(*this, data, token, to);
  }
  /// Ends the outstanding receive with `reason`, if any, then the port.
  void connection_lost(const std::error_code& reason) override;

  /// Sets the protocol, which outlives the port. Throws std::logic_error between start and end.
  void set_protocol(DatagramProtocol& protocol);
  /// As above; the port keeps the protocol until its own end. Throws std::invalid_argument for a null
  /// pointer.
  void set_protocol(std::unique_ptr<DatagramProtocol> protocol);
  /// Sets a protocol that calls `call(datagram)`, or `call(datagram, transport)`, or with whole runs: see
  /// `tunport::on_datagram`. What `call` refers to outlives the port, or the port is stopped before.
  template <class Call>
  void on_datagram(Call call) {
    set_protocol(std::make_unique<OnDatagram<Call>>(std::move(call)));
  }

  /// The size of the socket's receive buffer, in bytes as counted by the kernel: twice the request, because
  /// the kernel counts its overhead, too. 0 while closed.
  std::size_t receive_buffer() const;
  /// The size of the socket's send buffer, counted likewise. 0 while closed.
  std::size_t send_buffer() const;
  /// The errors of sent datagrams reported by the kernel, by kind, since the port was made.
  const DatagramErrorCounts& errors() const;

  /// The bound address while open, else the constructor's.
  Endpoint get_host() const;

 private:
  struct State;

  std::size_t bind_device(std::error_code& ec) override;
  void close_device() noexcept override;
  void connect_to_protocol() override { protocol_->connect(*this); }
  void disconnect_protocol() override { protocol_->disconnect(*this); }
  int receive_packets(Burst& burst) override;
  void receive_run(msghdr& message, MutableBytes bytes, PacketOrigin& origin);
  AnyOutbox& outbox() const override;
  const tunport::Protocol& protocol() const override;
  std::string subject() const override;
  void write_done(Ticket ticket, const std::error_code& ec) override;
  template <class Token, class>
  friend struct detail::AsyncCalls;
  std::function<void()> receive_canceller() const;
  std::function<void()> send_canceller(Ticket ticket) const;
  void deliver(const Datagrams& run, PacketOrigin& origin);
  void tell_errors();
  IpAddress source_for(const Endpoint& to) const;
  void change_membership(const IpAddress& group, const std::string& interface_name, bool join,
                         std::error_code& ec);

  Endpoint local_;
  DatagramProtocol* protocol_;
  std::unique_ptr<State> state_;
};

/// The text form: "<Answer (UDP) on 127.0.0.1:5353, listening>".
std::string to_string(const UdpPort& port);
/// Prints the text form.
std::ostream& operator<<(std::ostream& out, const UdpPort& port);

}  // namespace tunport
