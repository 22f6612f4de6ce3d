#pragma once
/// UDP datagrams of a protocol: single datagrams, runs, and tickets for answers.

#include <algorithm>
#include <cstdint>
#include <system_error>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The two ends of an answer. A value: a program keeps the ticket of a datagram and answers later, as long as
/// the transport knows the way.
struct ReplyTo {
  Endpoint to;    ///< the receiver of the answer: the sender of the datagram
  Endpoint from;  ///< the source of the answer: the asked address and port; 0.0.0.0: the transport's choice
  bool operator==(const ReplyTo&) const = default;
};

/// A received datagram. `data` is borrowed for the call.
struct Datagram {
  Bytes data;                      ///< the payload
  Endpoint from;                   ///< the sender
  Endpoint to;                     ///< the address and port that the sender asked
  bool to_group = false;           ///< the address is a multicast or broadcast address
  std::uint8_t traffic_class = 0;  ///< DSCP and ECN (RFC 2474, RFC 3168), if the transport tells; else 0

  bool truncated = false;  ///< longer than the buffer of a receive: the rest is lost

  /// The ticket of the datagram, for an answer during or after the delivery. A group is no source: the
  /// transport chooses the address of the answer then.
  ReplyTo reply_to() const { return {.to = from, .from = to_group ? Endpoint{{}, to.port} : to}; }
};

/// A run of datagrams: received in a row from the same sender, of equal size; the last may be shorter.
/// `bytes` is borrowed for the call.
struct Datagrams {
  Bytes bytes;                     ///< the payloads, without gaps
  std::size_t segment_size = 1;    ///< bytes of each payload but the last; at least 1
  Endpoint from;                   ///< the sender of all datagrams
  Endpoint to;                     ///< the address and port that the sender asked
  bool to_group = false;           ///< as in `Datagram`
  std::uint8_t traffic_class = 0;  ///< as in `Datagram`

  /// The number of datagrams: 1 for an empty datagram.
  std::size_t size() const { return bytes.empty() ? 1 : (bytes.size() + segment_size - 1) / segment_size; }
  /// A datagram of the run. Precondition: `index < size()`.
  Datagram operator[](std::size_t index) const {
    const std::size_t at = index * segment_size;
    return {bytes.subspan(at, std::min(segment_size, bytes.size() - at)), from, to, to_group, traffic_class};
  }
};

/// A failure of a datagram that was sent: an ICMP error, or an error of this host.
struct DatagramError {
  Endpoint to;           ///< the receiver of the datagram
  std::error_code code;  ///< std::errc::connection_refused: no socket at the port; host_unreachable, ...
  std::uint8_t icmp_type = 0;  ///< the type of the ICMP or ICMPv6 message; 0 for an error of this host
  std::uint8_t icmp_code = 0;  ///< the code of the message; 0 for an error of this host
  IpAddress reporter = {};     ///< the sender of the message; 0.0.0.0 for an error of this host
  std::uint32_t mtu = 0;       ///< the path's MTU in bytes, with std::errc::message_size; else 0
};

/// Counters of `DatagramError`, by kind.
struct DatagramErrorCounts {
  std::uint64_t port_unreachable = 0;     ///< no socket at the port
  std::uint64_t host_unreachable = 0;     ///< no host at the address, or access denied
  std::uint64_t network_unreachable = 0;  ///< no route
  std::uint64_t too_big = 0;              ///< longer than the path's MTU
  std::uint64_t other = 0;                ///< further errors
  /// Counts an error.
  void add(const DatagramError& error);
};

}  // namespace tunport
