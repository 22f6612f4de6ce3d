#pragma once
/// From Ethernet, or from a TUN port, to protocols, by IP protocol number.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tunport/protocol/arrival.hpp"
#include "tunport/protocol/protocol_table.hpp"
#include "tunport/wire/ip.hpp"

namespace tunport {

/// The fields of an answer's IP header that are not given by the question.
struct AnswerFields {
  std::uint8_t tos = 0;         ///< DSCP and ECN
  Bytes options{};              ///< of IPv4; borrowed for the call; a multiple of 4 bytes, at most 40
  std::uint8_t hop_limit = 64;  ///< the time to live of IPv4, the hop limit of IPv6
  std::size_t path_mtu =
      0;  ///< bytes; the answer is fragmented for a path narrower than the link; 0: as the link
  /// The source of the answer; 0.0.0.0: the datagram's destination. For a datagram to a group.
  IpAddress source{};
};

/// An IP datagram being delivered, IPv4 or IPv6, put together from its fragments. Borrowed for the call.
struct IpDatagram {
  const IpView& ip;
  const Arrival& arrival;

  /// The address of the sender.
  IpAddress source() const { return ip.source(); }
  /// The address of the receiver.
  IpAddress destination() const { return ip.destination(); }
  /// The protocol of the payload, of `ip_protocol`.
  std::uint8_t protocol() const { return ip.protocol(); }
  /// The bytes behind the headers, up to the end by the packet's length.
  Bytes payload() const { return ip.payload(); }
  /// True if the TCP or UDP checksum need not be verified: left to fill, or verified by a trusted sender.
  bool is_checksum_trusted() const;
  /// Calls `call(const IpDatagram&)` with each plain datagram of a super-packet, as `Packet::for_each_plain`.
  void for_each_plain(FunctionRef<void(const IpDatagram&)> call) const;
  /// The most parts of an answer's payload.
  static constexpr std::size_t max_parts = Arrival::max_parts - 1;
  /// Writes a datagram of the given protocol back to the sender, from the datagram's destination, in
  /// fragments where the link or the path asks for them. `payload` has at most `max_parts` parts. Refused:
  /// `too_long` beyond 65,535 bytes of an IPv4 packet or of an IPv6 payload, else as `Arrival::reply`; a
  /// refusal ends the fragments.
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

class Reassembly;

/// Demultiplexes IPv4 and IPv6, behind an `EthernetDemux` or directly on a TUN port; fragments are put
/// together. Drops: `truncated`, the reasons of `IpView::checked`, `ip_bad_version` also for a version other
/// than the EtherType's, `ip_fragment`, `ip_bad_fragment`, `bad_offload` (a checksum to fill elsewhere than
/// at the payload), `unknown_ip_protocol`. Options are skipped.
///
///     IpDemux ip; ip.add_proto(17, udp);
///     EthernetDemux ethernet; ethernet.add_proto(ethertype::ipv4, ip); ethernet.add_proto(ethertype::ipv6,
///     ip);
class IpDemux : public IpPacketProtocol, public NetworkProtocol {
 public:
  /// `datagrams_in_parts`: the most datagrams that wait for fragments at a time, 64 KiB each, allocated when
  /// needed. The oldest goes first, each after 30 s (IPv4) or 60 s (IPv6). 0: every fragment is dropped as
  /// `ip_fragment`.
  explicit IpDemux(std::size_t datagrams_in_parts = 32);
  ~IpDemux() override;

  /// The datagrams put together from fragments.
  std::uint64_t reassembled() const { return reassembled_; }

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
  void lose_transport(const FrameTransport* transport) override;

 protected:
  /// The reason to drop a well-formed datagram or fragment before the delivery, or nothing. Default: nothing.
  virtual std::optional<DropReason> screen(const IpDatagram& /*datagram*/) { return std::nullopt; }
  /// Called with a datagram, or a whole super-packet, of a protocol number without a protocol. Default:
  /// counts `unknown_ip_protocol`.
  virtual void nobody_home(const IpDatagram& datagram);
  /// Called when a datagram is dropped because fragments are missing, with the first fragment, outside of a
  /// delivery; not without that fragment. RFC 792 and RFC 4443 3.3 allow an answer, "time exceeded". Default:
  /// no effect.
  virtual void reassembly_timed_out(const IpDatagram& /*first*/) {}
  /// Called with a packet or a fragment of IPv6 that is dropped for a fault of a header, of which RFC 8200
  /// tells the sender, "parameter problem"; also for a packet that `screen` has not seen. `datagram` has the
  /// payload behind the fixed header only, unless it is a fragment. Default: counts `reason`.
  virtual void header_refused(const IpDatagram& datagram, const Ipv6Problem& problem, DropReason reason);

 private:
  using Protocols = ProtocolTable<TransportProtocol>;

  void whole_received(const IpDatagram& datagram);
  void not_a_datagram(Bytes packet, const Arrival& arrival, DropReason why,
                      const std::optional<Ipv6Problem>& problem);
  void deliver(Protocols::Range& protocols, const IpDatagram& datagram);

  Protocols protocols_{"IP protocol", 0xff};
  std::unique_ptr<Reassembly> reassembly_;
  std::uint64_t reassembled_ = 0;
};

}  // namespace tunport
