#pragma once
/// A port on a TUN/TAP device: packets of the interface, on an event loop.

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

#include "tunport/device/device.hpp"
#include "tunport/port/base_port.hpp"

namespace asio {
class mutable_buffer;
}

namespace tunport {

/// Where a tunnel port listens: its kind and the interface's name.
struct TunnelAddress {
  DeviceKind kind = DeviceKind::tun;
  std::string name;
  bool operator==(const TunnelAddress&) const = default;
};
/// "tap:tp0"
std::string to_string(const TunnelAddress& address);
std::ostream& operator<<(std::ostream& out, const TunnelAddress& address);

/// Reads and writes the packets of an interface. Made closed; `start_listening` opens the device.
///
///     TuntapPort port{reactor, "tap0", ethernet};   // an EthernetFrameProtocol: TAP
///     port.start_listening();
///
/// `name`: an interface's name, a template ("tp%d"), or empty for a name of the kernel's choice. The protocol
/// is borrowed and outlives the port; so does the reactor. Everything happens on the reactor's thread.
/// Destroying a listening port closes the device and stops the protocol at once, without `connection_lost`.
class TuntapPort final : public BasePort, public FrameTransport {
 public:
  /// The protocol says which kind of device it is for; another kind does not compile.
  TuntapPort(Reactor& reactor, std::string name, EthernetFrameProtocol& protocol, PortOptions options = {})
      : TuntapPort{reactor, DeviceKind::tap, std::move(name), protocol, std::move(options)} {}
  TuntapPort(Reactor& reactor, std::string name, IpPacketProtocol& protocol, PortOptions options = {})
      : TuntapPort{reactor, DeviceKind::tun, std::move(name), protocol, std::move(options)} {}
  /// A protocol that takes either kind.
  TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, FrameProtocol& protocol,
             PortOptions options = {});
  /// On a device that is open already (adopted, say): its kind is checked when the port starts (`wrong_kind`
  /// if the protocol wants the other), and one that blocks is made non-blocking. A restart opens it by its
  /// name, on its own system.
  TuntapPort(Reactor& reactor, Device device, FrameProtocol& protocol, PortOptions options = {});
  /// Without a protocol: packets are taken one by one, with `receive` or `async_receive`.
  TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, PortOptions options = {});
  /// On the calling thread's `default_reactor()`.
  TuntapPort(std::string name, EthernetFrameProtocol& protocol, PortOptions options = {});
  TuntapPort(std::string name, IpPacketProtocol& protocol, PortOptions options = {});
  ~TuntapPort() override;

  /// Told of one packet received into the buffer that was given; with an error there is none.
  using ReceiveHandler = std::function<void(const std::error_code& ec, const Packet& packet)>;
  /// Told that a datagram is sent, or why not.
  using SendHandler = std::function<void(const std::error_code& ec)>;

  int fileno() const override;
  void do_error() override;

  /// Writes one datagram: a frame on TAP, an IP packet on TUN. Copied or sent on return; within a burst, or
  /// under a `Cork`, it is gathered and says `queued`, if the device takes super-packets. Refused at once:
  /// `empty`, `too_short` for an Ethernet header, `too_long`, `wrong_version` on TUN, `not_listening`,
  /// `link_down`, `no_buffers`, `queue_full`, `device_gone`, `kernel_refused`. Of these link_down, no_buffers
  /// and queue_full pass.
  WriteResult write(Bytes datagram) override;
  /// Writes one datagram gathered from at most 16 parts. As `write`.
  WriteResult write_sequence(std::span<const Bytes> parts) override;
  /// As `write`; a packet that was cut off is refused as `truncated`, as `bad_offload` one whose
  /// segments were made in place, and a super-packet of a device of the other kind. A super-packet goes at
  /// once, behind what was written before.
  WriteResult forward(const Packet& packet) override;
  using FrameTransport::drop;
  void drop(DropReason reason, std::size_t datagrams) override;
  /// One attempt to write a datagram, without queueing: the bytes taken, or zero and `ec`. EAGAIN while
  /// others are queued.
  std::size_t write_some_data(Bytes data, std::error_code& ec) override;
  DeviceKind kind() const override { return kind_; }
  Reactor& reactor() const override { return BasePort::reactor(); }

  /// Receives one packet into `buffer`, which outlives the call; `handler` gets the part of it that was
  /// filled, marked as truncated if the packet was longer. The port reads only while a receive is
  /// outstanding: what comes meanwhile waits in the kernel. Errors: `not_listening`, `operation_aborted`
  /// (stopped or cancelled), `device_gone`. The handler is called by the reactor, never from inside this.
  /// Throws std::logic_error on a port with a protocol, or while another receive is outstanding.
  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// Sends one datagram, copied or sent on return; `handler` is called by the reactor when the kernel has it
  /// or it has failed: `link_down`, `device_gone`, `not_listening`, `operation_aborted`, or an errno
  /// (EMSGSIZE: too long; EINVAL: not a packet for this device; ENOBUFS: queue or kernel full, try again
  /// later). Returns a ticket for `cancel_send` if it waits in the queue, 0 otherwise.
  Ticket send(Bytes datagram, SendHandler handler);
  /// The outstanding receive ends with `operation_aborted`. No effect if there is none.
  void cancel_receive();
  /// Its handler is called with `operation_aborted`; the datagram goes out all the same. No effect if it is
  /// done.
  void cancel_send(Ticket ticket);

  /// `receive` with a completion token: `Packet p = co_await port.async_receive(asio::buffer(b),
  /// asio::use_awaitable);` Defined in tunport/port/asio_completion.hpp, for ports on an `AsioReactor`.
  /// Cancellable.
  template <class Token>
  auto async_receive(const asio::mutable_buffer& buffer, Token&& token);
  /// `send` with a completion token. As `async_receive`.
  template <class Token>
  auto async_send(Bytes datagram, Token&& token);

  /// Kind and name: the device's own name once it is open, what was asked for before.
  TunnelAddress get_host() const;
  /// The device, closed while the port is. For its knobs and capabilities; do not read, write or close it.
  Device& device();
  const Device& device() const;
  /// Hands the open device over; the port ends as after `stop_listening`. Closed if the port is.
  Device release_device();
  /// An outstanding receive ends with the reason, if there is one: `device_gone`.
  void connection_lost(const std::error_code& reason) override;

 private:
  struct State;

  std::size_t bind_device(std::error_code& ec) override;
  void close_device() noexcept override;
  void connect_to_protocol() override { protocol_.connect(*this); }
  void disconnect_protocol() override { protocol_.disconnect(*this); }
  ssize_t receive_packet(MutableBytes space) override;
  AnyOutbox& outbox() const override;
  void write_done(Ticket ticket, const std::error_code& ec) override;
  std::string subject() const override;
  void deliver(const Packet& packet);
  /// The two below may be called after the port is gone.
  std::function<void()> receive_canceller() const;
  std::function<void()> send_canceller(Ticket ticket) const;

  DeviceKind kind_;
  std::string name_;
  std::unique_ptr<State> state_;
  FrameProtocol& protocol_;
  bool accepts_super_packets_ = false;
};

/// "<Answer (TAP) on tap0, listening>"
std::string to_string(const TuntapPort& port);
std::ostream& operator<<(std::ostream& out, const TuntapPort& port);

}  // namespace tunport
