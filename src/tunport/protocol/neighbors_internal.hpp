#pragma once
/// The ways back to hosts that have sent packets: for answers after a delivery.

#include <array>
#include <cstdint>
#include <span>

#include "tunport/base/lru_table_internal.hpp"
#include "tunport/protocol/arrival.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A way to a host: the port, and on TAP the link's header with its VLAN tags.
struct Way {
  FrameTransport* port = nullptr;
  std::array<std::byte, 22> header{};  ///< two addresses, at most two tags, the EtherType
  std::uint8_t header_size = 0;        ///< 0 on TUN
  Endpoint asked;                      ///< the address and port that the host asked last

  /// The header in front of an IP packet to the host.
  Bytes link_header() const { return Bytes{header}.first(header_size); }
  bool operator==(const Way&) const = default;
};

/// A bounded table of ways by IP address; the least recently used way goes first. Ways are learned from
/// received packets, so a forged source moves a way, as in every learning switch.
class Neighbors {
 public:
  /// `capacity`: hosts, at least 1.
  explicit Neighbors(std::size_t capacity) : ways_{capacity} {}

  /// Learns the way of the packet being delivered, from `host`. A frame from a group, or with more than two
  /// tags, teaches nothing.
  void learn(const IpAddress& host, const Arrival& arrival, const Endpoint& asked) {
    learn(host, arrival, asked, arrival.ethernet != nullptr ? arrival.ethernet->ethertype() : 0);
  }
  /// As above, from a frame of another EtherType: packets to the host have the EtherType `type`.
  void learn(const IpAddress& host, const Arrival& arrival, const Endpoint& asked, std::uint16_t type);
  /// Sets a way, from an answer to an address request.
  void set(const IpAddress& host, const Way& way);
  /// The way to a host; null if unknown. Valid until the next call.
  const Way* find(const IpAddress& host) {
    last_ = nullptr;
    return ways_.find(host);
  }
  /// Forgets the ways of a port; null means all ways.
  void forget(const FrameTransport* port);

 private:
  LruTable<IpAddress, Way> ways_;
  IpAddress last_host_;  // the host of `last_`, the most recently used way
  const Way* last_ = nullptr;
};

}  // namespace tunport
