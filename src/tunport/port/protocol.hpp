#pragma once
/// What stands behind a port: the interfaces that a program implements, and the transports that it writes to.
///
/// Theory. A port delivers; a protocol receives and writes back through its transport. Start and stop are
/// counted over all the ports (or demultiplexers) that a protocol serves: `start_protocol` before its first,
/// `stop_protocol` after its last. A protocol outlives its ports. An exception that leaves a protocol's
/// callback is logged and counted by the port, which lives on; from `start_protocol` it makes the port's
/// start fail.

#include <span>
#include <stdexcept>
#include <string>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/device/link_system.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/write_result.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// Where a frame protocol writes: a port as its protocols see it.
class FrameTransport {
 public:
  virtual ~FrameTransport() = default;
  /// Writes one datagram: a frame on TAP, an IP packet on TUN. Copied or sent on return.
  virtual WriteResult write(Bytes datagram) = 0;
  /// Writes one datagram gathered from at most 16 parts. Copied or sent on return.
  virtual WriteResult write_sequence(std::span<const Bytes> parts) = 0;
  /// Writes a packet as it was delivered, here or by another port: a super-packet whole, if the device takes
  /// it, in segments otherwise. Only within the call that delivered it. Its bytes may be sent from where they
  /// lie at the end of the burst: they must not be changed after this.
  virtual WriteResult forward(const Packet& packet) = 0;
  /// Counts a packet that was read and goes no further, as so many datagrams.
  virtual void drop(DropReason reason, std::size_t datagrams) = 0;
  /// The same for one datagram.
  void drop(DropReason reason) { drop(reason, 1); }
  virtual DeviceKind kind() const = 0;
  /// The loop that delivers; its clock is the one to use.
  virtual Reactor& reactor() const = 0;
};

/// Where a datagram protocol writes: a UDP port, or a UDP demultiplexer.
class DatagramTransport {
 public:
  virtual ~DatagramTransport() = default;
  /// Sends one datagram. Copied or sent on return. A demultiplexer knows the way back to the sender of the
  /// datagram being delivered, and refuses others with `DropReason::no_route`.
  virtual WriteResult write_to(const Endpoint& to, Bytes data) = 0;
  /// Counts the datagram being delivered as one that goes no further.
  virtual void drop(DropReason reason) = 0;
};

/// What protocols of every kind have: a life, counted. A virtual base: one object may serve on two floors.
class Protocol {
 public:
  virtual ~Protocol() = default;
  Protocol() = default;
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;

  /// Before the first port delivers. What it throws makes the port's start fail. It may destroy the port.
  virtual void start_protocol() {}
  /// After the last port has gone.
  virtual void stop_protocol() {}
  /// Whether it wants super-packets whole, and datagrams with the checksum left to fill (`Packet::offload`).
  /// Asked when it is connected, or for each packet: always the same answer. Default: no, so it is given
  /// plain datagrams.
  virtual bool accepts_super_packets() const { return false; }
  /// What log lines call it.
  virtual std::string name() const;

  /// Called by ports and demultiplexers: one more, one fewer. Counted before the protocol starts, so that a
  /// port that it destroys meanwhile is one fewer.
  void do_start() {
    if (users_++ != 0) return;
    try {
      start_protocol();
    } catch (...) {
      if (users_ > 0) --users_;
      throw;
    }
  }
  void do_stop() {
    if (users_ > 0 && --users_ == 0) stop_protocol();
  }

 private:
  int users_ = 0;
};

/// A protocol with a transport of this kind. `transport()` is the one that delivered last, or connected last.
template <class Transport>
class ConnectedProtocol : public virtual Protocol {
 public:
  /// Throws std::logic_error before the first port has connected.
  Transport& transport() const {
    if (transport_ == nullptr) throw std::logic_error(name() + ": not connected to a port yet");
    return *transport_;
  }
  /// Called by the transport, before it delivers.
  void make_connection(Transport& transport) { transport_ = &transport; }
  /// Called by a port that begins to serve it: connects and starts it. What the start throws is thrown, and
  /// nothing is connected then.
  void connect(Transport& transport) {
    make_connection(transport);
    try {
      do_start();
    } catch (...) {
      lose_transport(transport);
      throw;
    }
  }
  /// Called by a port that served it: stops it, and disconnects it even if that throws. Stopping may destroy
  /// the port.
  void disconnect(const Transport& transport) {
    try {
      do_stop();
    } catch (...) {
      lose_transport(transport);
      throw;
    }
    lose_transport(transport);
  }
  /// Called by the transport when it goes.
  void lose_transport(const Transport& transport) {
    if (transport_ == &transport) transport_ = nullptr;
  }

 private:
  Transport* transport_ = nullptr;
};

/// Receives every packet of a port, on either kind of device. Derive from `EthernetFrameProtocol` or
/// `IpPacketProtocol` if it is for one kind.
class FrameProtocol : public ConnectedProtocol<FrameTransport> {
 public:
  /// `packet` is borrowed for the call. Copy what should last; do not suspend a coroutine while you hold it.
  virtual void frame_received(const Packet& packet) = 0;
};

/// A frame protocol that wants Ethernet frames: its port is a TAP.
class EthernetFrameProtocol : public FrameProtocol {};

/// A frame protocol that wants IP packets: its port is a TUN.
class IpPacketProtocol : public FrameProtocol {};

/// Receives UDP payloads.
class DatagramProtocol : public ConnectedProtocol<DatagramTransport> {
 public:
  /// `data` is borrowed for the call: no coroutine may suspend while it holds it. `transport().write_to(from,
  /// ...)` answers.
  virtual void datagram_received(Bytes data, const Endpoint& from) = 0;
};

}  // namespace tunport
