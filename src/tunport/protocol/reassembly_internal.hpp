#pragma once
/// Datagrams put together from their fragments (RFC 791 3.2, RFC 8200 4.5).
///
/// Theory. Each datagram has its own memory, and a list of the ranges received. A fragment within a range is
/// a duplicate, and is ignored; a fragment that overlaps a range in part makes the datagram worthless (RFC
/// 5722): nothing of the datagram is delivered, neither what came nor what comes. Linux does nearly the same
/// for both versions. A first fragment of IPv6 without all headers is dropped alone (RFC 8200 4.5). The
/// memory is bounded by the number of datagrams: a new datagram takes the place of the oldest. A datagram
/// that is not whole in time is dropped (30 s for IPv4 as in Linux, 60 s for IPv6). Every fragment that is
/// not delivered is counted by its port.

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/wire/ip.hpp"

namespace tunport {

/// See the theory above. For a single thread.
class Reassembly {
 public:
  /// Called when a datagram is dropped for its age, with the first fragment, if that has come.
  using TimedOut = std::function<void(const IpDatagram& first)>;
  /// Called in place of the drop of an IPv6 fragment whose sender is told of its fault (RFC 8200 4.5).
  using Refused = std::function<void(const IpDatagram& fragment, const Ipv6Problem& problem)>;

  /// `datagrams`: the most at once, each of 64 KiB.
  Reassembly(std::size_t datagrams, TimedOut timed_out, Refused refused)
      : most_{datagrams}, timed_out_{std::move(timed_out)}, refused_{std::move(refused)} {}

  /// A datagram that has become whole.
  struct Whole {
    std::unique_ptr<std::byte[]> memory;
    Bytes packet;  ///< with its IP header; empty: not whole yet
  };
  /// Takes a fragment, which is kept or counted as dropped.
  Whole add(const IpDatagram& fragment);
  /// Drops what came from a port, or everything if null.
  void forget(const FrameTransport* port);

 private:
  struct Datagram {
    IpAddress source;
    IpAddress destination;
    std::uint32_t identification = 0;
    std::uint8_t protocol = 0;  // 0 for IPv6, where the identification is enough
    FrameTransport* port = nullptr;

    std::unique_ptr<std::byte[]> memory;
    std::vector<std::pair<std::size_t, std::size_t>> ranges;  // begin and end, in order, apart
    std::size_t header_size = 0;                              // 0 until the first fragment has come
    std::size_t total = 0;  // bytes of the payload; 0 until the last fragment has come
    std::size_t fragments = 0;
    bool overlapped = false;
    std::vector<std::byte> first;  // the first fragment's frame
    std::size_t first_ip_at = 0;
    MacAddress local_mac;
    Reactor::Timer timeout;
  };
  using Place = std::list<Datagram>::iterator;

  Place find(const IpDatagram& fragment, const IpFragment& part);
  static bool insert(Datagram& datagram, std::size_t begin, std::size_t end, bool& duplicate);
  static Bytes finish(Datagram& datagram, std::uint8_t protocol, std::size_t protocol_at, bool v4);
  void drop(Place place, DropReason reason);
  void time_out(Place place);

  std::size_t most_;
  TimedOut timed_out_;
  Refused refused_;
  std::list<Datagram> datagrams_;  // the oldest first
};

}  // namespace tunport
