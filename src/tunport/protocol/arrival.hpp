#pragma once
/// How a packet came, and the way back.

#include <span>

#include "tunport/port/protocol.hpp"
#include "tunport/wire/ethernet.hpp"

namespace tunport {

/// What is known below the payload being delivered. Borrowed for the call.
struct Arrival {
  FrameTransport& transport;
  /// The frame; null on TUN.
  const EthernetView* ethernet = nullptr;
  /// Our own address for an answer; not set (all zero) if the frame was for a group and nobody gave us one.
  MacAddress local_mac{};
  /// The whole packet, with what is left to do on it; empty if nobody said.
  Packet packet{};

  /// True if the link brought it to more than one station.
  bool is_link_broadcast() const { return ethernet != nullptr && ethernet->destination().is_multicast(); }

  /// Writes `parts` (at most 14) back to where the packet came from, with the frame's header reversed and its
  /// VLAN tags kept. Refused: `answer_not_allowed` if the frame names no single sender, `no_route` without an
  /// address of our own, and whatever the port refuses.
  WriteResult reply(std::span<const Bytes> parts) const;
};

/// What stands behind an EtherType: receives the payloads of frames. On a TUN port it receives the packets
/// themselves, so an IP protocol works on both.
class NetworkProtocol : public virtual ConnectedProtocol<FrameTransport> {
 public:
  /// `payload` may have padding behind it. It is borrowed, as is `arrival`. Who accepts super-packets gets
  /// the payload of one whole, and looks at `arrival.packet` for its segmentation and checksum.
  virtual void packet_received(Bytes payload, const Arrival& arrival) = 0;
};

}  // namespace tunport
