#pragma once
/// A port on a TUN/TAP device: packets of the interface, on an event loop.

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

#include "tunport/device/device.hpp"
#include "tunport/port/async_calls.hpp"
#include "tunport/port/base_port.hpp"
#include "tunport/port/function_protocol.hpp"

namespace tunport {

/// The address of a tunnel port: the kind of device and the interface's name.
struct TunnelAddress {
  DeviceKind kind = DeviceKind::tun;
  std::string name;
  bool operator==(const TunnelAddress&) const = default;
};
/// The text form: "tap:tp0".
std::string to_string(const TunnelAddress& address);
std::ostream& operator<<(std::ostream& out, const TunnelAddress& address);

/// Reads and writes the packets of an interface. Made closed; `start_listening` opens the device.
///
///     TuntapPort port{reactor, "tap0", ethernet};   // an EthernetFrameProtocol: TAP
///     port.start_listening();
///
/// `name` is an interface's name, a template ("tp%d"), or empty for a name of the kernel's choice. The
/// protocol and the reactor are borrowed and outlive the port. Every call happens on the reactor's thread.
/// The destructor of a listening port closes the device and stops the protocol at once, without
/// `connection_lost`.
class TuntapPort final : public BasePort, public FrameTransport {
 public:
  /// For Ethernet frames, on a TAP: the type of the protocol decides the kind of device.
  TuntapPort(Reactor& reactor, std::string name, EthernetFrameProtocol& protocol, PortOptions options = {})
      : TuntapPort{reactor, DeviceKind::tap, std::move(name), protocol, std::move(options)} {}
  /// For IP packets, on a TUN.
  TuntapPort(Reactor& reactor, std::string name, IpPacketProtocol& protocol, PortOptions options = {})
      : TuntapPort{reactor, DeviceKind::tun, std::move(name), protocol, std::move(options)} {}
  /// For a protocol of either kind.
  TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, FrameProtocol& protocol,
             PortOptions options = {});
  /// On an open device (adopted, say). The start checks the device's kind (`wrong_kind` if the protocol is
  /// for the other kind), and makes a blocking device non-blocking. A restart opens the device by name, on
  /// the device's own system and in the namespace that the device was in. A queue of a multi-queue device
  /// keeps the device's features, whatever `PortOptions::offload` says.
  TuntapPort(Reactor& reactor, Device device, FrameProtocol& protocol, PortOptions options = {});
  /// Without a protocol: `receive` or `async_receive` takes packets one by one.
  TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, PortOptions options = {});
  /// For Ethernet frames, on a TAP and the calling thread's `default_reactor()`.
  TuntapPort(std::string name, EthernetFrameProtocol& protocol, PortOptions options = {});
  /// For IP packets, on a TUN and the calling thread's `default_reactor()`.
  TuntapPort(std::string name, IpPacketProtocol& protocol, PortOptions options = {});
  ~TuntapPort() override;

  /// Sets the protocol, which outlives the port: for ports that need each other. Throws std::logic_error
  /// between start and end. The start checks the kind.
  void set_protocol(FrameProtocol& protocol);
  /// As above; the port keeps the protocol until its own end. Throws std::invalid_argument for a null
  /// pointer.
  void set_protocol(std::unique_ptr<FrameProtocol> protocol);
  /// Sets a protocol that calls `call(packet)` or `call(packet, transport)` with each packet: see
  /// `tunport::on_frame`. What `call` refers to outlives the port, or the port is stopped before.
  template <class Call>
  void on_frame(Call call, PacketForm how = PacketForm::plain) {
    set_protocol(std::make_unique<OnFrame<Call>>(std::move(call), how));
  }

  /// The kind of protocol, and the result of a receive.
  using Protocol = FrameProtocol;
  using Received = Packet;
  /// Called with the packet received into the given buffer; with an error the packet is empty.
  using ReceiveHandler = std::function<void(const std::error_code& ec, const Packet& packet)>;
  /// Called when a datagram is sent, or with the error.
  using SendHandler = std::function<void(const std::error_code& ec)>;

  /// Called with each event of the interface, after the protocol's `link_changed`: see there.
  using LinkHandler = std::function<void(LinkEvent event, const LinkInfo& link)>;
  /// Sets the handler, or removes it. May be called by the handler.
  void on_link_changed(LinkHandler handler);

  /// The device's descriptor; -1 when closed.
  int fileno() const override;
  /// Ends the port with `device_gone` if the device is gone. The reactor calls `do_error`.
  void do_error() override;

  /// Writes one datagram: a frame on TAP, an IP packet on TUN. Copied or sent on return. Within a burst, or
  /// under a `Cork`, the datagram is gathered (`queued`) if the device takes super-packets. Refused at once:
  /// `empty`, `too_short` for an Ethernet header, `too_long`, `wrong_version` on TUN, `not_listening`,
  /// `link_down`, `no_buffers`, `queue_full`, `device_gone`, `kernel_refused`. Transient are link_down,
  /// no_buffers and queue_full.
  WriteResult write(Bytes datagram) override;
  /// Writes one datagram gathered from at most 16 parts. As `write`.
  WriteResult write_sequence(std::span<const Bytes> parts) override;
  /// Writes a delivered packet, as `write`. Refused besides: a cut-off packet (`truncated`), a packet whose
  /// segments were made in place, and a super-packet of the other kind of device (both `bad_offload`). A
  /// super-packet is sent at once, behind earlier writes.
  WriteResult forward(const Packet& packet) override;
  using FrameTransport::drop;
  /// Counts a packet that was read and dropped, as `datagrams` datagrams.
  void drop(DropReason reason, std::size_t datagrams) override;
  /// Tries once to write a datagram, without queueing. Returns the bytes taken, or zero with `ec` set; EAGAIN
  /// while datagrams are queued.
  std::size_t write_some_data(Bytes data, std::error_code& ec) override;
  /// The kind of device.
  DeviceKind kind() const override { return kind_; }
  /// The reactor given to the constructor.
  Reactor& reactor() const override { return BasePort::reactor(); }
  /// The interface as the kernel describes it now, by netlink; the name alone while closed, and on an error.
  LinkInfo link_info() const override;
  /// The interface's MTU, in bytes: as of the latest link event, and without link events asked by netlink at
  /// most once a second. 0 while closed, and if not known.
  std::size_t mtu() const override;

  /// Receives one packet into `buffer`, which is borrowed until `handler` is called. `handler` gets the
  /// filled part of the buffer, marked as truncated if the packet was longer. The port reads only while a
  /// receive is outstanding; meanwhile packets wait in the kernel. Errors: `not_listening`,
  /// `operation_aborted` (stopped or cancelled), `device_gone`. The reactor calls the handler, never
  /// `receive` itself. Throws std::logic_error on a port with a protocol, or while another receive is
  /// outstanding.
  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// Sends one datagram, copied or sent on return. The reactor calls `handler` when the kernel has the
  /// datagram, or with an error: `link_down`, `device_gone`, `not_listening`, `operation_aborted`, or an
  /// errno (EMSGSIZE: too long; EINVAL: not a packet for the device; ENOBUFS: queue or kernel full, try again
  /// later). Returns a ticket for `cancel_send` if the datagram is queued, 0 otherwise.
  Ticket send(Bytes datagram, SendHandler handler);
  /// Ends the outstanding receive with `operation_aborted`. No effect without a receive.
  void cancel_receive();
  /// Calls the handler of a queued send with `operation_aborted`; the datagram is sent all the same. No
  /// effect after the handler was called.
  void cancel_send(Ticket ticket);

  /// `receive` with a completion token: `Packet p = co_await port.async_receive(asio::buffer(b),
  /// asio::use_awaitable);` Needs tunport/asio.hpp, and a port on an `AsioReactor`. Cancellable.
  template <class Token>
  auto async_receive(const asio::mutable_buffer& buffer, Token&& token) {
    return detail::AsyncCalls<Token>::receive(*this, buffer, token);
  }
  /// `send` with a completion token. As `async_receive`.
  template <class Token>
  auto async_send(Bytes datagram, Token&& token) {
    return detail::AsyncCalls<Token>::send(*this, datagram, token);
  }

  /// The packets that the kernel has dropped since the start because nobody read in time (the link's
  /// tx_dropped, of all queues together): lost without a reason among the `drops`. Asked by netlink; while
  /// closed, the number at the end of the last life. 0 if not known.
  std::uint64_t kernel_drops() const;
  /// Kind and name: the device's own name while open, also after a rename; the constructor's before.
  TunnelAddress get_host() const;
  /// The device, closed while the port is closed. For settings and capabilities; do not read, write or close
  /// it.
  Device& device();
  /// The device, for reading its settings.
  const Device& device() const;
  /// Hands the open device over, and ends the port as `stop_listening` does. Returns a closed device if the
  /// port is closed. What `PortOptions::interface` asked for stays as it is.
  Device release_device();
  /// Ends the outstanding receive with `reason`, if any, then the port.
  void connection_lost(const std::error_code& reason) override;

 private:
  struct State;

  std::size_t bind_device(std::error_code& ec) override;
  void close_device() noexcept override;
  void connect_to_protocol() override { protocol_->connect(*this); }
  void disconnect_protocol() override { protocol_->disconnect(*this); }
  /// Takes the device of `PortOptions::fd`.
  void adopt(int fd, std::error_code& ec);
  /// What `PortOptions::interface` asks for.
  void set_up_interface(std::error_code& ec);
  /// Watches the interface, if possible.
  void watch_link() noexcept;
  void end_watch() noexcept;
  void link_changed(LinkEvent event, const LinkInfo& link);
  /// Undoes `set_up_interface` if the device stays.
  void put_interface_back() noexcept;
  int receive_packets(Burst& burst) override;
  ssize_t receive_packet(MutableBytes space, const Burst& burst);
  AnyOutbox& outbox() const override;
  void write_done(Ticket ticket, const std::error_code& ec) override;
  const tunport::Protocol& protocol() const override;
  std::string subject() const override;
  void deliver(const Packet& packet, const Burst& burst);
  template <class Token, class>
  friend struct detail::AsyncCalls;
  /// Cancels the outstanding receive; callable after the port is destroyed.
  std::function<void()> receive_canceller() const;
  /// Cancels the send of `ticket`; callable after the port is destroyed.
  std::function<void()> send_canceller(Ticket ticket) const;

  DeviceKind kind_;
  std::string name_;
  std::unique_ptr<State> state_;
  FrameProtocol* protocol_;
  bool accepts_super_packets_ = false;
};

/// The text form: "<Answer (TAP) on tap0, listening>".
std::string to_string(const TuntapPort& port);
std::ostream& operator<<(std::ostream& out, const TuntapPort& port);

}  // namespace tunport
