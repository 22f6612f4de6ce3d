#pragma once
/// A port on a plain UDP socket: the same protocols and the same port as over a tunnel, without one.

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "tunport/port/base_port.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The options of one sent datagram.
struct SendOptions {
  /// The source address, one of this host's; by default the kernel's choice. A foreign one is refused:
  /// `no_route`, or `kernel_refused` on IPv6.
  std::optional<IpAddress> from = {};
  /// DSCP and ECN; by default as `SocketOptions::traffic_class`.
  std::optional<std::uint8_t> traffic_class = {};
};

/// Sends and receives UDP datagrams of the operating system, IPv4 or IPv6. Made closed; `start_listening`
/// binds.
///
///     UdpPort port{reactor, {*IpAddress::parse("127.0.0.1"), 0}, answer};
///     port.start_listening();  // port.get_host().port is the one that the system chose
///
/// Within a burst, and under a `Cork`, datagrams to one receiver are gathered, and sent in one call as far as
/// they are of equal size (UDP_SEGMENT); what arrives in one call (UDP_GRO) is delivered datagram by
/// datagram, or as a run to a protocol that accepts super-packets. `PortOptions::offload` without `uso`
/// switches both off. A receiver that reads too late loses datagrams in the kernel: they are counted as
/// `receive_overflow` with the next one that arrives.
///
/// A port on the wildcard address answers from the address that was asked. ICMP errors to sent datagrams are
/// counted (`errors`), and told to the protocol (`error_received`); the port goes on.
///
/// An IPv6 port takes IPv6 only. `PortOptions::max_packet_size` counts the payload; longer datagrams are
/// dropped as `truncated`. Lifetimes and threads as with `TuntapPort`.
class UdpPort final : public BasePort, public DatagramTransport {
 public:
  UdpPort(Reactor& reactor, const Endpoint& local, DatagramProtocol& protocol, PortOptions options = {});
  /// On the calling thread's `default_reactor()`.
  UdpPort(const Endpoint& local, DatagramProtocol& protocol, PortOptions options = {});
  ~UdpPort() override;

  int fileno() const override;
  void do_error() override;

  /// Sends one datagram, an empty one too. Copied or sent on return. Refused: `too_long`, `no_route` (also
  /// for an address of the other family), `not_listening`, `link_down`, `no_buffers`, `queue_full`,
  /// `kernel_refused`.
  WriteResult write_to(const Endpoint& to, Bytes data) override;
  /// Sends one datagram with options of its own. As `write_to`.
  WriteResult write_to(const Endpoint& to, Bytes data, const SendOptions& how);
  /// Answers a datagram that this port received. As `write_to`; `no_route` for a ticket of another port.
  WriteResult reply(const ReplyTo& ticket, Bytes data) override;
  /// Sends one datagram to `SocketOptions::peer`. As `write_to`. Throws std::logic_error without a peer.
  WriteResult write(Bytes data);
  /// Tries once to send a datagram to `SocketOptions::peer`, without queueing. Returns the bytes taken, or
  /// zero with `ec` set: EDESTADDRREQ without a peer, EAGAIN while datagrams are queued.
  std::size_t write_some_data(Bytes data, std::error_code& ec) override;
  /// Counts the datagram being delivered as dropped.
  void drop(DropReason reason) override;
  /// The reactor given to the constructor.
  Reactor& reactor() const override { return BasePort::reactor(); }

  /// Joins a multicast group, on an interface or, with an empty name, as routes have it (ip(7),
  /// IP_ADD_MEMBERSHIP). Lasts until `leave` or the port's end. Throws `Error`: `not_listening`, EINVAL for
  /// an address that is no group's, EAFNOSUPPORT for the other family, ENODEV without an interface,
  /// EADDRINUSE for a member.
  void join(const IpAddress& group, const std::string& interface_name = {});
  void join(const IpAddress& group, const std::string& interface_name, std::error_code& ec);
  /// Leaves a group. As `join`; EADDRNOTAVAIL without a membership.
  void leave(const IpAddress& group, const std::string& interface_name = {});
  void leave(const IpAddress& group, const std::string& interface_name, std::error_code& ec);

  /// Sets the protocol, which outlives the port. Throws std::logic_error between start and end.
  void set_protocol(DatagramProtocol& protocol);

  /// What the kernel granted to the socket's buffers, in bytes as the kernel counts them: twice what was
  /// asked for, as its own overhead is counted, too. 0 while closed.
  std::size_t receive_buffer() const;
  std::size_t send_buffer() const;
  /// The errors of sent datagrams that the kernel told of, by kind, since the port was made.
  const DatagramErrorCounts& errors() const;

  /// The bound address once listening, what was asked for before.
  Endpoint get_host() const;

 private:
  struct State;

  std::size_t bind_device(std::error_code& ec) override;
  void close_device() noexcept override;
  void connect_to_protocol() override { protocol_->connect(*this); }
  void disconnect_protocol() override { protocol_->disconnect(*this); }
  ssize_t receive_packet(MutableBytes space) override;
  AnyOutbox& outbox() const override;
  const Protocol& protocol() const override;
  std::string subject() const override;
  void deliver(const Datagrams& run);
  ssize_t tell_errors();
  IpAddress source_for(const Endpoint& to) const;
  void change_membership(const IpAddress& group, const std::string& interface_name, bool join,
                         std::error_code& ec);

  Endpoint local_;
  DatagramProtocol* protocol_;
  std::unique_ptr<State> state_;
};

/// "<Answer (UDP) on 127.0.0.1:5353, listening>"
std::string to_string(const UdpPort& port);
std::ostream& operator<<(std::ostream& out, const UdpPort& port);

}  // namespace tunport
