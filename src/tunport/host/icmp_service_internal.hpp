#pragma once
/// The ICMP of a host, and its refusals in both versions.

#include "tunport/host/host_state_internal.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"

namespace tunport {

/// The reasons of ICMP errors that a host sends.
enum class Refusal : std::uint8_t {
  port,      ///< no endpoint at the UDP port
  protocol,  ///< no protocol of the number
  parts,     ///< fragments were missing; the datagram is dropped already
  header,    ///< a fault of an IPv6 header
};

/// What an ICMP error says besides its reason.
struct RefusalDetails {
  Ipv6Problem problem{};  ///< of `Refusal::header`
  IpAddress source{};     ///< of the error; 0.0.0.0: the datagram's destination
};

/// Answers pings of IPv4, and notes narrow paths. `state` outlives the service.
class IcmpService : public TransportProtocol {
 public:
  explicit IcmpService(HostState& state) : state_{state} {}

  void datagram_received(const IpDatagram& datagram) override;

  /// Drops a datagram for `reason`, and sends an ICMP error about the datagram. The rules of RFC 1122 3.2.2
  /// and RFC 4443 2.4 (e) hold already: the screen keeps out groups and sources that are no single host, and
  /// ICMP errors have a protocol.
  void refuse(const IpDatagram& datagram, Refusal what, std::uint64_t& told, DropReason reason,
              const RefusalDetails& details = {});

 private:
  HostState& state_;
};

/// True for a part of an ICMPv6 error or redirect with the type in it, whatever the extension headers before:
/// no error is sent about an error (RFC 4443 2.4 (e)). False where the type is in another fragment, as in
/// Linux.
bool is_icmpv6_error(Bytes packet);

/// The DSCP of an answer (RFC 1122 3.2.2.6), without the ECN bits.
inline std::uint8_t tos_of_answer(const IpView& question) {
  return static_cast<std::uint8_t>(question.dscp() << 2);
}

/// Answers with an ICMPv6 message.
WriteResult reply_icmpv6(const IpDatagram& to, const Icmpv6Header& header, Bytes payload,
                         AnswerFields fields = {});

/// Notes that a router has told of a narrower path, quoting `quoted`: a datagram of the host, longer than
/// `mtu`. False if the quotation is none, or nothing is new.
bool note_path_mtu(HostState& state, Bytes quoted, std::size_t mtu, TimePoint now);

}  // namespace tunport
