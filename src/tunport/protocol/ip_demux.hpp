#pragma once
/// From Ethernet, or from a TUN port, to protocols, by IP protocol number.

#include <optional>
#include <span>

#include "tunport/protocol/arrival.hpp"
#include "tunport/protocol/protocol_table.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport {

/// The fields of an answer's IP header that are not given by the question.
struct AnswerFields {
  std::uint8_t tos = 0;  ///< DSCP and ECN
  Bytes options{};       ///< borrowed for the call; a multiple of 4 bytes, at most 40
};

/// An IPv4 datagram being delivered. Borrowed for the call.
struct IpDatagram {
  const Ipv4View& ip;
  const Arrival& arrival;

  /// The bytes behind the header, up to the end by the total length.
  Bytes payload() const { return ip.payload(); }
  /// True if the TCP or UDP checksum need not be verified: left to fill, or verified by a trusted sender.
  bool is_checksum_trusted() const;
  /// Calls `call(const IpDatagram&)` with each plain datagram of a super-packet, as `Packet::for_each_plain`.
  void for_each_plain(FunctionRef<void(const IpDatagram&)> call) const;
  /// The most parts of an answer's payload.
  static constexpr std::size_t max_parts = Arrival::max_parts - 1;
  /// Writes a datagram of the given protocol back to the sender, from the datagram's destination. `payload`
  /// has at most `max_parts` parts. Refused: `too_long` beyond 65,535 bytes, else as `Arrival::reply`.
  WriteResult reply(std::uint8_t protocol, std::span<const Bytes> payload,
                    const AnswerFields& fields = {}) const;
};

/// A protocol behind an IP protocol number. A protocol that accepts super-packets gets a datagram with the
/// payload of many; `arrival.packet` has the segmentation.
class TransportProtocol : public virtual ConnectedProtocol<FrameTransport> {
 public:
  /// Receives a datagram, borrowed for the call.
  virtual void datagram_received(const IpDatagram& datagram) = 0;
};

/// Demultiplexes IPv4, behind an `EthernetDemux` or directly on a TUN port. Drops: `truncated`, `ip_short`,
/// `ip_bad_version`, `ip_bad_header_length`, `ip_bad_total_length`, `ip_bad_checksum`, `ip_fragment` (without
/// reassembly), `bad_offload` (a checksum to fill elsewhere than at the payload), `unknown_ip_protocol`.
/// Options are skipped.
///
///     IpDemux ip; ip.add_proto(17, udp);
class IpDemux : public IpPacketProtocol, public NetworkProtocol {
 public:
  /// Adds a protocol behind the IP protocol `number`, 0 to 255; std::out_of_range otherwise. As
  /// `EthernetDemux::add_proto`.
  void add_proto(int number, TransportProtocol& protocol) {
    protocols_.add(number, protocol, connected_transport());
  }
  /// As `EthernetDemux::remove_proto`.
  void remove_proto(int number, TransportProtocol& protocol) { protocols_.remove(number, protocol); }

  void start_protocol() override { protocols_.start(connected_transport()); }
  void stop_protocol() override { protocols_.stop(); }
  /// Receives a packet of a TUN port.
  void frame_received(const Packet& packet) override;
  /// Receives a payload of an `EthernetDemux`.
  void packet_received(Bytes payload, const Arrival& arrival) override;
  /// True. A protocol that accepts super-packets and has its number to itself gets them whole, other
  /// protocols get segments.
  bool accepts_super_packets() const override { return true; }
  const Protocol& thrower() const override { return protocols_.thrower(*this); }
  void lose_transport(const FrameTransport* transport) override {
    ConnectedProtocol::lose_transport(transport);
    protocols_.lose_transport(transport);
  }

 protected:
  /// The reason to drop a well-formed datagram before the delivery, or nothing. Default: nothing.
  virtual std::optional<DropReason> screen(const IpDatagram& /*datagram*/) { return std::nullopt; }
  /// Called with a datagram, or a whole super-packet, of a protocol number without a protocol. Default:
  /// counts `unknown_ip_protocol`.
  virtual void nobody_home(const IpDatagram& datagram);

 private:
  using Protocols = ProtocolTable<TransportProtocol>;

  void deliver(Protocols::Range& protocols, const IpDatagram& datagram);

  Protocols protocols_{"IP protocol", 0xff};
};

}  // namespace tunport
