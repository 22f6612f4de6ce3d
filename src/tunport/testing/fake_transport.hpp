#pragma once
/// A stand-in for a port, for tests of a single protocol: delivers packets, and records writes.

#include <vector>

#include "tunport/port/protocol.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/packets.hpp"

namespace tunport {

/// Keeps written packets, and counts drops.
///
///     FakeTransport port;
///     port.deliver(protocol, packets::arp_request(address));
///     EXPECT_THAT(port.written, ElementsAre(is_arp_reply()));
class FakeTransport : public FrameTransport {
 public:
  explicit FakeTransport(DeviceKind kind = DeviceKind::tap) : kind_{kind} {}

  WriteResult write(Bytes datagram) override { return write_sequence({&datagram, 1}); }
  WriteResult write_sequence(std::span<const Bytes> parts) override {
    packets::Buffer whole;
    for (const Bytes part : parts) whole.insert(whole.end(), part.begin(), part.end());
    written.push_back(std::move(whole));
    return result;
  }
  WriteResult forward(const Packet& packet) override { return write(packet.bytes()); }
  using FrameTransport::drop;
  void drop(DropReason reason, std::size_t datagrams) override { drops.add(reason, datagrams); }
  DeviceKind kind() const override { return kind_; }
  std::size_t mtu() const override { return link_mtu; }
  Reactor& reactor() const override { return clock; }

  /// Connects the protocol, and delivers `bytes` to it.
  void deliver(FrameProtocol& protocol, const packets::Buffer& bytes, bool truncated = false) {
    protocol.make_connection(*this);
    protocol.frame_received(Packet{bytes, truncated});
  }

  std::vector<packets::Buffer> written;           ///< the packets written, oldest first
  DropCounts drops;                               ///< the datagrams dropped, by reason
  WriteResult result = WriteResult::make_sent();  ///< the result of every write
  std::size_t link_mtu = 0;                       ///< the MTU in bytes; 0: not known
  mutable ManualReactor clock;                    ///< the reactor of the transport

 private:
  DeviceKind kind_;
};

}  // namespace tunport
