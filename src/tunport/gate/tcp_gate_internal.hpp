#pragma once
/// The TCP of a gate: packets of clients turned into packets for the kernel's own sockets, and back.
///
/// Theory. A client at A:s connects to D:d, and its packets come out of the interface. They go back in as
/// packets from D:n to L:l, where the kernel listens: L is an address of the interface, l the listener's
/// port, n the flow's own port. The kernel's answers from L:l to D:n come out of the interface as well, and
/// go back in as packets from D:d to A:s.
///
///   client  A:s -> D:d  ==read==>  D:n -> L:l  ==write==>  the kernel's socket
///   client  A:s <- D:d  <==write== L:l -> D:n  <==read==   the kernel's socket
///
/// Only addresses and ports change, in place, of super-packets whole. The kernel does the rest of TCP:
/// windows, retransmission, congestion control, options.
///
/// The SYN of a new connection is held until the program decides. The client's kernel sends the SYN again
/// meanwhile; the copies are dropped. A client gives up without a word: a request ends when the client's next
/// copy is long overdue. After the decision the SYN goes to the listener, whose kernel accepts the
/// connection.
///
/// A flow ends when both FINs are acknowledged, or by a reset. The flow lingers then: the last packets may
/// come again. If the kernel's socket closed first, it is in TIME_WAIT for a minute, and would meet the next
/// connection on the same port. Both ends are known to have closed, so the gate ends that state by a reset of
/// its own (RFC 1337 calls this a hazard, since old duplicates might do so; here no network can duplicate). A
/// client that uses its port again gets the same port of the gate again, so that the kernel's rules for old
/// duplicates hold from end to end (RFC 6191).

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/gate/flow_table_internal.hpp"
#include "tunport/gate/gate_options.hpp"
#include "tunport/gate/tcp_answers_internal.hpp"
#include "tunport/protocol/ip_demux.hpp"

namespace tunport {

/// See the theory above. A transport protocol for TCP on a TUN.
class TcpGate : public TransportProtocol {
 public:
  /// Called with a new request, within a delivery, last of all. The call may decide at once.
  using Requested = std::function<void(const FlowId&)>;
  /// Called when a connection has ended that was not accepted yet: the client has gone, or made room. Must
  /// not call back.
  using Expired = std::function<void(const FlowId&)>;

  TcpGate(const GateOptions& options, GateStatistics& statistics, Requested requested, Expired expired);

  /// The kernel's listener of a family; packets of the family are refused as unreachable without one.
  void set_listener(const Endpoint& listener);
  /// Called with a segment of the listener's that is of no flow; true: taken.
  void on_listener_segment(
      std::function<bool(FrameTransport& port, const FlowEnds& ends, const BareSegment& segment)> taken) {
    taken_ = std::move(taken);
  }
  /// Forgets the listener of a family.
  void lose_listener(bool v6) { listeners_[v6 ? 1 : 0] = {}; }

  void start_protocol() override {}
  void stop_protocol() override;
  bool accepts_super_packets() const override { return true; }
  void datagram_received(const IpDatagram& datagram) override;
  /// An ICMP error that quotes a packet of a flow: translated and written. False if it is about no flow.
  bool error_received(const IpDatagram& datagram);

  /// The ends of a flow; nothing if the flow has gone.
  std::optional<FlowEnds> ends(const FlowId& id) const;
  /// Lets a held request through. False if the request has gone.
  bool admit(const FlowId& id);
  /// Refuses a held request. False if the request has gone.
  bool refuse(const FlowId& id, GateRefusal how);
  /// The flow of a connection that the kernel has accepted from `peer`; nothing for a stranger.
  std::optional<FlowId> accepted(const Endpoint& peer);
  /// The flows that are not over.
  std::size_t flows() const {
    return table_.size() - table_.count(FlowState::lingering) - table_.count(FlowState::waiting);
  }
  const FlowTable& table() const { return table_; }

 private:
  struct Segment;

  void begin(const Segment& segment);
  void follow(const Segment& segment, std::uint32_t place, bool from_client);
  void note_ends(const Segment& segment, std::uint32_t place, bool from_client);
  bool make_room();
  void end(std::uint32_t place, FrameTransport& port);
  void reset_unknown(const Segment& segment, DropReason reason);
  void forward(const Segment& segment, const FlowEnds& ends);
  void forget(std::uint32_t place);
  void tick();
  void start_clock(FrameTransport& port);
  const Endpoint* listener(bool v6) const {
    return listeners_[v6 ? 1 : 0] ? &*listeners_[v6 ? 1 : 0] : nullptr;
  }

  const GateOptions& options_;
  GateStatistics& statistics_;
  Requested requested_;
  Expired expired_;
  std::function<bool(FrameTransport&, const FlowEnds&, const BareSegment&)> taken_;
  FlowTable table_;
  TokenBucket resets_;
  std::array<std::optional<Endpoint>, 2> listeners_;
  TimePoint epoch_{};
  std::uint32_t now_ = 0;  // seconds since the epoch
  Reactor::Timer clock_;
  std::vector<std::byte> copy_;  // of a datagram put together from fragments
};

}  // namespace tunport
