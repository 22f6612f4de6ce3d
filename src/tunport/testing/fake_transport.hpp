#pragma once
/// A stand-in for a port, for tests of a protocol alone: it delivers what it is given and remembers what is
/// written.

#include <vector>

#include "tunport/port/protocol.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/packets.hpp"

namespace tunport {

/// Keeps what is written and counts what is dropped.
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
  Reactor& reactor() const override { return clock; }

  /// Delivers, as a port does.
  void deliver(FrameProtocol& protocol, const packets::Buffer& bytes, bool truncated = false) {
    protocol.make_connection(*this);
    protocol.frame_received(Packet{bytes, truncated});
  }

  std::vector<packets::Buffer> written;
  DropCounts drops;
  WriteResult result = WriteResult::make_sent();  ///< what writes return
  mutable ManualReactor clock;

 private:
  DeviceKind kind_;
};

}  // namespace tunport
