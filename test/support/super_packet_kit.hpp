#pragma once
/// The kit of super-packet tests on ports.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"

#include "support/port_test_kit.hpp"
#include "support/shape.hpp"

namespace tunport::port_test {

using shapes::Shape;

using Packets = std::vector<Buffer>;

/// A recorder of whole super-packets.
class Accepter : public Recorder {
 public:
  bool accepts_super_packets() const override { return true; }
  void frame_received(const Packet& packet) override {
    offloads.push_back(packet.offload());
    Recorder::frame_received(packet);
  }
  std::vector<PacketOffload> offloads;
};

/// A UDP endpoint that records payloads, and calls a hook for each, if set.
class Endpoints : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    payloads.emplace_back(as_text(datagram.data));
    if (on_datagram) on_datagram(datagram.data, datagram.from);
  }
  std::vector<std::string> payloads;
  std::function<void(Bytes, const Endpoint&)> on_datagram;
};

inline const Shape udp4{.protocol = ip_protocol::udp};
inline const Shape tcp4{};
inline const Shape on_tap{.protocol = ip_protocol::udp, .kind = DeviceKind::tap, .tags = 1};

/// A TUN port named tun0, or a TAP port, on the fake kernel, and a second port for forwarded packets.
class SuperPackets : public testing::Test {
 protected:
  ~SuperPackets() override { set_log_sink({}); }

  TuntapPort& start(FrameProtocol& protocol, PortOptions options, DeviceKind kind = DeviceKind::tun) {
    port = std::make_unique<TuntapPort>(clock, kind, "tun0", protocol, std::move(options));
    port->start_listening();
    kernel.tunnel("tun0").set_up(true);
    return *port;
  }
  TuntapPort& start(FrameProtocol& protocol, DeviceKind kind = DeviceKind::tun) {
    return start(protocol, {.system = kernel}, kind);
  }
  TuntapPort& start_other(PortOptions options) {
    other = std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tun1", other_protocol, std::move(options));
    other->start_listening();
    kernel.tunnel("tun1").set_up(true);
    return *other;
  }
  MemorySystem::Tunnel interface() { return kernel.tunnel("tun0"); }
  /// Has the kernel send a super-packet of `payload` bytes. Returns its datagrams.
  Packets inject(const Shape& shape, std::size_t payload, std::size_t segment_size) {
    const Buffer bytes = shapes::some_bytes(payload);
    EXPECT_TRUE(
        interface().inject(shapes::super_packet(shape, bytes), shapes::offload_of(shape, segment_size)));
    return shapes::segments(shape, bytes, segment_size);
  }
  /// Has the kernel send letters as a super-packet, `segment_size` to each datagram.
  void inject_text(const std::string& letters, std::size_t segment_size, const Shape& shape = udp4) {
    EXPECT_TRUE(interface().inject(shapes::super_packet(shape, as_bytes(letters)),
                                   shapes::offload_of(shape, segment_size)));
  }
  std::uint64_t drops(DropReason reason) const { return port->statistics().drops[reason]; }

  MemorySystem kernel;
  ManualReactor clock;
  Recorder decliner;
  Accepter accepter;
  Recorder other_protocol;
  UdpDemux udp;
  IpDemux ip;
  Endpoints endpoint;
  RecordingProducer producer;
  std::unique_ptr<TuntapPort> port;
  std::unique_ptr<TuntapPort> other;
};

}  // namespace tunport::port_test
