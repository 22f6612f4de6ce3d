/// No packet costs an allocation: operator new counts while a million packets pass.

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include <arpa/inet.h>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

#include "kernel/sandbox.hpp"
#include "support/counted_new.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using counted_new::allocations;

constexpr std::uint64_t total = 1'000'000;
constexpr std::uint64_t round_size = 250;  // half the ring of a TUN: nothing is dropped
constexpr std::uint16_t echo_port = 7;

TEST(Counter, notices_every_form_of_new) {
  struct alignas(64) Wide {
    char bytes[64];
  };
  // A volatile size and a volatile pointer keep compilers from removing the calls.
  const auto count = [](auto make, auto destroy) {
    const std::uint64_t before = allocations;
    auto* volatile made = make();
    const std::uint64_t after = allocations;
    destroy(made);
    return after - before;
  };
  volatile std::size_t one = 1;
  EXPECT_EQ(count([&] { return ::operator new(one); }, [](void* memory) { ::operator delete(memory); }), 1U);
  EXPECT_EQ(count([&] { return new int[one]; }, [](const int* made) { delete[] made; }), 1U);
  EXPECT_EQ(count([&] { return new Wide[one]; }, [](const Wide* made) { delete[] made; }), 1U);
  EXPECT_EQ(count([&] { return new (std::nothrow) int[one]; }, [](const int* made) { delete[] made; }), 1U);
}

/// Sends packets to the echo port, without allocations.
class Sender {
 public:
  Sender() : fd_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(echo_port);
    to.sin_addr.s_addr = htonl(0x0a4e0002);
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
    part_ = {payload_.data(), payload_.size()};
    for (mmsghdr& message : messages_) {
      message.msg_hdr.msg_iov = &part_;
      message.msg_hdr.msg_iovlen = 1;
    }
  }
  bool connected() const { return connected_; }
  bool send_round() {
    std::size_t sent = 0;
    while (sent < round_size) {
      const int got = ::sendmmsg(fd_.get(), &messages_[sent], static_cast<unsigned>(round_size - sent), 0);
      if (got <= 0) return false;
      sent += static_cast<std::size_t>(got);
    }
    return true;
  }

 private:
  UniqueFd fd_;
  bool connected_ = false;
  std::array<char, 64> payload_{};
  iovec part_{};
  std::array<mmsghdr, round_size> messages_{};
};

/// Counts received datagrams.
class Count final : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& /*datagram*/) override { ++datagrams; }
  std::uint64_t datagrams = 0;
};

TEST(Allocations, none_for_a_million_frames_received_through_every_demultiplexer) {
  MemorySystem kernel;
  ManualReactor reactor;
  Count count;
  UdpDemux udp;
  IpDemux ip;
  EthernetDemux ethernet;
  udp.add_proto(42, count);
  ip.add_proto(ip_protocol::udp, udp);
  ethernet.add_proto(0x0800, ip);
  TuntapPort port{reactor, "alloc0", ethernet, {.system = kernel}};
  port.start_listening();
  MemorySystem::Tunnel tunnel = kernel.tunnel("alloc0");
  tunnel.set_up(true);
  const auto frame = packets::ethernet({}, packets::udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));

  std::uint64_t allocated = 0;  // without the fake's allocations for injected packets
  const auto pass = [&](std::uint64_t frames) {
    for (std::uint64_t passed = 0; passed < frames; passed += round_size) {
      for (std::uint64_t i = 0; i < round_size; ++i) tunnel.inject(frame);
      const std::uint64_t before = allocations;
      reactor.run_ready();
      allocated += allocations - before;
    }
  };
  pass(10 * round_size);  // the warm-up
  allocated = 0;
  const std::uint64_t before = count.datagrams;
  pass(total);
  EXPECT_EQ(allocated, 0U);
  EXPECT_EQ(count.datagrams - before, total);
}

class Kernel : public sandbox::KernelTest {};

TEST_F(Kernel, allocates_nothing_for_a_million_packets_received_echoed_and_written_on_asio) {
  sandbox::disable_ipv6();
  asio::io_context io;
  AsioReactor reactor{io};
  UdpEcho echo;
  UdpDemux udp;
  IpDemux ip;
  udp.add_proto(echo_port, echo);
  ip.add_proto(ip_protocol::udp, udp);
  TuntapPort port{reactor, "alloc0", ip};
  port.start_listening();
  links.add_address("alloc0", {Ipv4Address{0x0a4e0001}, 24}, ec);
  ASSERT_FALSE(ec) << ec.message();
  links.set_up("alloc0", true, ec);
  ASSERT_FALSE(ec) << ec.message();
  Sender sender;
  ASSERT_TRUE(sender.connected());

  // Passes a round when every packet is echoed; fails when the loop is idle for a second.
  const auto pass = [&](std::uint64_t count) {
    const std::uint64_t end = echo.echoes() + count;
    while (echo.echoes() < end) {
      const std::uint64_t round_end = echo.echoes() + round_size;
      if (!sender.send_round()) return false;
      while (echo.echoes() < round_end)
        if (io.run_one_for(std::chrono::seconds{1}) == 0) return false;
    }
    return echo.echoes() == end;
  };
  ASSERT_TRUE(pass(10 * round_size)) << "after " << echo.echoes() << " echoes";  // the warm-up

  const std::uint64_t before = allocations;
  const Statistics start = port.statistics();
  ASSERT_TRUE(pass(total)) << "after " << echo.echoes() << " echoes";
  EXPECT_EQ(allocations - before, 0U);
  EXPECT_EQ(port.statistics().packets_out - start.packets_out, total);
  EXPECT_EQ(port.statistics().packets_in - start.packets_in, total);
}

/// Passes packets on: super-packets whole and datagrams by reference, or segments in writes.
class Passer final : public FrameProtocol {
 public:
  explicit Passer(bool whole) : whole_{whole} {}
  bool accepts_super_packets() const override { return whole_; }
  void frame_received(const Packet& packet) override {
    datagrams += datagrams_in(packet.size(), packet.offload());
    if (whole_)
      transport().forward(packet);
    else
      transport().write(packet.bytes());
  }
  std::uint64_t datagrams = 0;

 private:
  bool whole_;
};

class KernelSuperPackets : public Kernel, public testing::WithParamInterface<bool> {
 protected:
  using Buffer = shapes::Buffer;
  static constexpr std::size_t segments = 10;
  static constexpr std::uint16_t flows = 200;  // more than are gathered at once

  static Buffer framed(const Buffer& packet, const PacketOffload& left) {
    Buffer framed(virtio_header::size);
    virtio_header::encode(left, std::endian::native, framed);
    framed.insert(framed.end(), packet.begin(), packet.end());
    return framed;
  }
};

INSTANTIATE_TEST_SUITE_P(Passed, KernelSuperPackets, testing::Bool(),
                         [](const auto& whole) { return whole.param ? "whole" : "in_parts"; });

TEST_P(KernelSuperPackets, allocate_nothing_split_joined_forwarded_and_gathered_from_many_flows) {
  sandbox::disable_ipv6();
  PollReactor reactor;
  Passer passer{GetParam()};
  TuntapPort port{reactor, DeviceKind::tun, "alloc0", passer};
  port.start_listening();
  links.set_up("alloc0", true, ec);
  ASSERT_FALSE(ec) << ec.message();

  std::vector<Buffer> sent;  // framed, for a packet socket
  std::uint64_t expected = 0;
  for (const shapes::Shape& shape : {shapes::Shape{}, shapes::Shape{.protocol = ip_protocol::udp}}) {
    if (!shape.is_tcp() && !port.device().capabilities().offload.uso) continue;
    sent.push_back(framed(shapes::super_packet(shape, shapes::some_bytes(segments * 1400)),
                          shapes::offload_of(shape, 1400)));
    expected += segments;
  }
  std::vector<Buffer> written;
  for (std::uint16_t i = 0; i < flows; ++i) {
    shapes::Shape flow{.protocol = ip_protocol::udp};
    flow.source4 = Ipv4Address{0x0a010000U + i};
    written.push_back(shapes::datagram(flow, shapes::some_bytes(1000)));
    sent.push_back(framed(written.back(), {}));
    ++expected;
  }
  sandbox::PacketSocket sender{"alloc0", true};
  const auto pass = [&](int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t end = passer.datagrams + expected;
      for (const Buffer& packet : sent)
        if (sender.send(packet) != 0) return false;
      for (int turns = 0; passer.datagrams < end; ++turns) {
        if (turns == 1000) return false;
        reactor.run_once(std::chrono::milliseconds{10});
      }
      const Cork cork{reactor};
      for (const Buffer& packet : written) port.write(packet);
    }
    return true;
  };
  ASSERT_TRUE(pass(10)) << "the warm-up";
  const std::uint64_t before = allocations;
  const Statistics start = port.statistics();
  ASSERT_TRUE(pass(300));
  EXPECT_EQ(allocations - before, 0U);
  EXPECT_GT(port.statistics().super_packets_in, start.super_packets_in);
  EXPECT_GT(port.statistics().super_packets_out, start.super_packets_out);
  EXPECT_EQ(port.statistics().packets_out - start.packets_out, 300 * (expected + flows));
  EXPECT_EQ(port.statistics().drops.total(), start.drops.total());
}

/// Answers each datagram.
class Answer final : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    transport().reply(datagram.reply_to(), datagram.data);
  }
};

TEST_F(Kernel, allocates_nothing_for_datagrams_of_udp_ports_single_in_runs_answered_and_of_super_packets) {
  PollReactor reactor;
  Answer answer;
  Count count;
  const Endpoint any{*IpAddress::parse("127.0.0.1"), 0};
  UdpPort right{reactor, any, answer};
  UdpPort left{reactor, any, count};
  right.start_listening();
  left.start_listening();
  const Endpoint to = right.get_host();
  const shapes::Shape shape;
  constexpr std::size_t segments = 20;
  const shapes::Buffer content = shapes::some_bytes(segments * 1000);
  shapes::Buffer bytes = shapes::super_packet(shape, content);
  PacketOrigin origin{.bytes = bytes, .left = shapes::offload_of(shape, 1000)};
  const Packet packet{origin};
  constexpr std::uint64_t round = 1 + 40 + 3 * segments;

  const auto pass = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      const std::uint64_t end = count.datagrams + round;
      left.write_to(to, Bytes{content}.first(100));
      {
        const Cork cork{reactor};
        for (int k = 0; k < 40; ++k) left.write_to(to, Bytes{content}.first(200));
      }
      left.write_segments(to, packet);
      left.write_segments(to, packet, Bytes{content}.first(8));
      left.write_segments(to, packet, {.before = 24, .behind = 16},
                          [](MutableBytes datagram) { datagram.back() = std::byte{1}; });
      for (int turns = 0; count.datagrams < end; ++turns) {
        if (turns == 1000) return false;
        reactor.run_once(std::chrono::milliseconds{10});
      }
    }
    return true;
  };
  ASSERT_TRUE(pass(10)) << "the warm-up";
  const std::uint64_t before = allocations;
  const Statistics start = left.statistics();
  ASSERT_TRUE(pass(2000));
  EXPECT_EQ(allocations - before, 0U);
  EXPECT_GT(left.statistics().super_packets_in, start.super_packets_in);
  EXPECT_EQ(left.statistics().packets_out - start.packets_out, 2000 * round);
  EXPECT_EQ(left.statistics().drops.total() + right.statistics().drops.total(), 0U);
}

}  // namespace
}  // namespace tunport
