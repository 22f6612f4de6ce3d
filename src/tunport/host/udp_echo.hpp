#pragma once
/// The echo service (RFC 862) on UDP.

#include <cstdint>

#include "tunport/port/protocol.hpp"

namespace tunport {

/// Sends each datagram back to its sender, but for one from port 7: two echo services would never stop. On
/// other ports two can be set upon each other by a forged sender, as any two services that always answer;
/// that is not for open networks.
class UdpEcho : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    if (datagram.from.port == 7) return transport().drop(DropReason::answer_not_allowed);
    if (transport().write_to(datagram.from, datagram.data)) ++echoes_;
  }
  /// Datagrams sent back.
  std::uint64_t echoes() const { return echoes_; }

 private:
  std::uint64_t echoes_ = 0;
};

}  // namespace tunport
