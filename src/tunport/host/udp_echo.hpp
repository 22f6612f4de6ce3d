#pragma once
/// The echo service (RFC 862) on UDP.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tunport/port/protocol.hpp"

namespace tunport {

/// Sends each datagram back to its sender, unless the sender is a service that answers as well: a forged
/// datagram would set the two upon each other for ever (CERT CA-1996-01, RFC 4732 2.1). Such senders are
/// counted as `answer_not_allowed`: the port asked, the further echo ports told to the constructor, echo (7),
/// daytime (13), qotd (17), chargen (19) and time (37). Two hosts with echo services at other ports each
/// cannot know each other; the same numbers on every host keep them apart.
class UdpEcho : public DatagramProtocol {
 public:
  /// An echo service at a single port of the host.
  UdpEcho() = default;
  /// `ports`: the echo ports of the host, for an object, or several, at several ports.
  explicit UdpEcho(std::vector<std::uint16_t> ports) : ports_{std::move(ports)} {}

  void datagram_received(const Datagram& datagram) override {
    if (always_answers(datagram.from.port, datagram.to.port))
      return transport().drop(DropReason::answer_not_allowed);
    if (transport().write_to(datagram.from, datagram.data)) ++echoes_;
  }
  /// Datagrams sent back.
  std::uint64_t echoes() const { return echoes_; }

 private:
  bool always_answers(std::uint16_t from, std::uint16_t asked) const {
    switch (from) {
      case 7:   // echo
      case 13:  // daytime
      case 17:  // quote of the day
      case 19:  // character generator
      case 37:  // time
        return true;
      default:
        return from == asked || std::ranges::find(ports_, from) != ports_.end();
    }
  }

  std::vector<std::uint16_t> ports_;
  std::uint64_t echoes_ = 0;
};

}  // namespace tunport
