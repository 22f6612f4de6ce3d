#pragma once
/// The way of a packet to a protocol, and back.

#include <span>

#include "tunport/port/protocol.hpp"
#include "tunport/wire/ethernet.hpp"

namespace tunport {

/// The lower layers of the payload being delivered. Borrowed for the call.
struct Arrival {
  /// The port that delivers.
  FrameTransport& transport;
  /// The frame; null on TUN.
  const EthernetView* ethernet = nullptr;
  /// The source address of an answer; all zero if the frame was for a group and the demultiplexer has no
  /// address.
  MacAddress local_mac{};
  /// The whole packet, with the work left to do. Empty by default.
  Packet packet{};

  /// True if the link brought the packet to more than one station.
  bool is_link_broadcast() const { return ethernet != nullptr && ethernet->destination().is_multicast(); }

  /// The most parts of an answer: the frame's header takes two.
  static constexpr std::size_t max_parts = max_write_parts - 2;
  /// Writes `parts` (at most `max_parts`) back to the sender of the frame, with its header reversed and its
  /// VLAN tags kept. Refused: `answer_not_allowed` if the source is a group, `no_route` without a
  /// `local_mac`, and the refusals of the port.
  WriteResult reply(std::span<const Bytes> parts) const;
};

/// A protocol behind an EtherType: receives the payloads of frames. On a TUN port the whole packets are the
/// payloads, so that an IP protocol works on both.
class NetworkProtocol : public virtual ConnectedProtocol<FrameTransport> {
 public:
  /// Receives the payload of a frame, padding included; `payload` and `arrival` are borrowed for the call. A
  /// protocol that accepts super-packets gets the payload of a whole super-packet: `arrival.packet` has the
  /// segmentation and the checksum.
  virtual void packet_received(Bytes payload, const Arrival& arrival) = 0;
};

}  // namespace tunport
