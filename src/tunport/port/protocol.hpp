#pragma once
/// The program's side of a port: the interfaces to implement, and the transports to write to.
///
/// Theory. A port delivers; a protocol receives, and writes back through its transport. Starts and stops are
/// counted over all ports (or demultiplexers) of a protocol: `start_protocol` precedes the first,
/// `stop_protocol` follows the last. A protocol outlives its ports. A port logs and counts an exception from
/// its protocol's callback, and goes on; an exception from `start_protocol` makes the port's start fail.

#include <span>
#include <stdexcept>
#include <string>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/device/link_system.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/port/datagram.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/write_result.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The way to write for a frame protocol: a port as seen by its protocols.
class FrameTransport {
 public:
  virtual ~FrameTransport() = default;
  /// Writes one datagram: a frame on TAP, an IP packet on TUN. Copied or sent on return.
  virtual WriteResult write(Bytes datagram) = 0;
  /// Writes one datagram gathered from at most 16 parts. Copied or sent on return.
  virtual WriteResult write_sequence(std::span<const Bytes> parts) = 0;
  /// Writes a packet as delivered, by the same port or another: a super-packet whole, if the device takes its
  /// kind, in segments otherwise. Only within the delivering call. The bytes may be sent from their place at
  /// the end of the burst: do not change them after `forward`.
  virtual WriteResult forward(const Packet& packet) = 0;
  /// Counts a packet that was read and dropped, as `datagrams` datagrams.
  virtual void drop(DropReason reason, std::size_t datagrams) = 0;
  /// Counts one datagram that was read and dropped.
  void drop(DropReason reason) { drop(reason, 1); }
  /// The kind of device.
  virtual DeviceKind kind() const = 0;
  /// The delivering loop, whose clock protocols use.
  virtual Reactor& reactor() const = 0;
  /// The interface as the kernel describes it now, as far as known. Default: nothing is known.
  virtual LinkInfo link_info() const { return {}; }
  /// The interface's MTU, in bytes; at most a second old. 0, the default: not known.
  virtual std::size_t mtu() const { return 0; }
};

/// The way to write for a datagram protocol: a UDP port, or a UDP demultiplexer.
class DatagramTransport {
 public:
  virtual ~DatagramTransport() = default;
  /// Sends one datagram. Copied or sent on return. During the delivery of a datagram of `to`, the source is
  /// the address that `to` asked.
  virtual WriteResult write_to(const Endpoint& to, Bytes data) = 0;
  /// Answers a datagram, during or after its delivery, from the address that the datagram was for. As
  /// `write_to`.
  virtual WriteResult reply(const ReplyTo& ticket, Bytes data) = 0;
  /// Counts the datagram being delivered as dropped.
  virtual void drop(DropReason reason) = 0;
  /// The delivering loop, whose clock and timers protocols use.
  virtual Reactor& reactor() const = 0;
};

/// The common part of all protocols: a counted life. A virtual base: an object may serve on two floors.
class Protocol {
 public:
  virtual ~Protocol() = default;
  Protocol() = default;
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;

  /// Called before the first port delivers. An exception makes the port's start fail. May destroy the port.
  virtual void start_protocol() {}
  /// Called after the end of the last port.
  virtual void stop_protocol() {}
  /// True if the protocol takes whole super-packets, and datagrams with the checksum left to fill
  /// (`Packet::offload`). Called at the connection or for each packet: the answer must not change. Default:
  /// false, for plain datagrams.
  virtual bool accepts_super_packets() const { return false; }
  /// The protocol's name in log lines.
  virtual std::string name() const;
  /// The protocol that threw the exception being handled: the protocol itself, or a protocol behind it.
  /// Default: the protocol itself.
  virtual const Protocol& thrower() const { return *this; }

  /// Counts another user, for ports and demultiplexers; starts the protocol for the first user. The count
  /// precedes the start, because the protocol may destroy the port meanwhile.
  void do_start() {
    if (users_++ != 0) return;
    const unsigned start = ++starts_;
    try {
      start_protocol();
    } catch (...) {
      if (start == starts_ && users_ > 0) --users_;  // else the user belongs to a later start
      throw;
    }
  }
  /// Counts a user less, for ports and demultiplexers; stops the protocol after the last user.
  void do_stop() {
    if (users_ > 0 && --users_ == 0) stop_protocol();
  }

 private:
  int users_ = 0;
  unsigned starts_ = 0;
};

/// A protocol with a transport. `transport()` is the last transport to deliver, or to connect.
template <class T>
class ConnectedProtocol : public virtual Protocol {
 public:
  using Transport = T;

  /// The current transport. Throws std::logic_error before the first port has connected.
  Transport& transport() const {
    if (transport_ == nullptr) throw std::logic_error(name() + ": not connected to a port yet");
    return *transport_;
  }
  /// The current transport; null without a transport.
  Transport* connected_transport() const { return transport_; }
  /// Sets the transport. Transports call `make_connection` before each delivery.
  void make_connection(Transport& transport) { transport_ = &transport; }
  /// Connects and starts the protocol, for a port that begins to use it. An exception of the start is passed
  /// on, and nothing is connected then.
  void connect(Transport& transport) {
    make_connection(transport);
    try {
      do_start();
    } catch (...) {
      lose_transport(&transport);
      throw;
    }
  }
  /// Stops and disconnects the protocol, for a port at its end. An exception of the stop is passed on after
  /// the disconnection. The stop may destroy the port.
  void disconnect(const Transport& transport) {
    try {
      do_stop();
    } catch (...) {
      lose_transport(&transport);
      throw;
    }
    lose_transport(&transport);
  }
  /// Forgets a transport, for transports at their end; null means the current transport. Overriding
  /// demultiplexers call the base's.
  virtual void lose_transport(const Transport* transport) {
    if (transport == nullptr || transport_ == transport) transport_ = nullptr;
  }

 private:
  Transport* transport_ = nullptr;
};

/// Receives every packet of a port, on both kinds of device. Derive from `EthernetFrameProtocol` or
/// `IpPacketProtocol` for a single kind.
class FrameProtocol : public virtual ConnectedProtocol<FrameTransport> {
 public:
  /// Receives a packet, borrowed for the call. Copy lasting parts, and do not suspend a coroutine during the
  /// call.
  virtual void frame_received(const Packet& packet) = 0;
  /// The port's interface has changed since the start; `link` is the state after the change (before `moved`
  /// and `deleted`). Where the kernel lost notices, changes are told again. A deletion ends the port besides.
  /// Never called by a port that cannot watch (`TuntapPort`). Default: no effect.
  virtual void link_changed(LinkEvent /*event*/, const LinkInfo& /*link*/) {}
};

/// A frame protocol for Ethernet frames: its port is a TAP.
class EthernetFrameProtocol : public FrameProtocol {};

/// A frame protocol for IP packets: its port is a TUN.
class IpPacketProtocol : public FrameProtocol {};

/// Receives UDP payloads.
class DatagramProtocol : public ConnectedProtocol<DatagramTransport> {
 public:
  /// Receives a datagram. `datagram.data` is borrowed for the call: no coroutine may suspend with it.
  /// `transport().write_to(datagram.from, ...)` answers at once, and `transport().reply(ticket, ...)` later,
  /// with the ticket `datagram.reply_to()`.
  virtual void datagram_received(const Datagram& datagram) = 0;
  /// Receives a run of datagrams, on a protocol that accepts super-packets. `run` is borrowed for the call.
  /// Default: calls `datagram_received` for each datagram.
  virtual void datagrams_received(const Datagrams& run) {
    for (std::size_t i = 0; i < run.size(); ++i) datagram_received(run[i]);
  }
  /// A sent datagram has failed: by an ICMP error, or by a later refusal of this host. Only a `UdpPort` tells
  /// errors; the port goes on. ICMP errors can be forged: a hint, not a proof. Default: no effect.
  virtual void error_received(const DatagramError& /*error*/) {}
};

}  // namespace tunport
