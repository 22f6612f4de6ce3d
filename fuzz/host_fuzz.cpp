// Any frames with any virtio header, into a host on a TAP port. Every answer is looked at with plain
// arithmetic: it is whole and right, it is due, and it goes to the sender only. Every datagram is answered or
// counted.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "tunport/host/host.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/checksum.hpp"

#include "input.hpp"
#include "support/shape.hpp"

namespace {

using namespace tunport;
using fuzz::require;
using shapes::Buffer;

constexpr Ipv4Address host_address{0x0a000002};
constexpr MacAddress host_mac{{2, 0, 0, 0, 0, 2}};
constexpr std::uint16_t echo_port = 7777;

std::uint16_t sum_with_pseudo_header(Bytes ip, Bytes transport) {
  Checksum sum;
  sum.add(ip.subspan(12, 8));
  std::array<std::byte, 4> rest{};
  store_u8(rest, 1, load_u8(ip, 9));
  store_be16(rest, 2, static_cast<std::uint16_t>(transport.size()));
  sum.add(rest);
  sum.add(transport);
  return sum.finish();
}

/// The first IPv4 or ARP header of a frame, behind at most two tags; the size of the frame without one.
std::size_t network_offset(Bytes frame) {
  std::size_t at = 12;
  for (int tags = 0; tags < 2 && at + 2 <= frame.size(); ++tags) {
    const std::uint16_t type = load_be16(frame, at);
    if (type != 0x8100 && type != 0x88a8) break;
    at += 4;
  }
  return std::min(at + 2, frame.size());
}

/// An answer to `input`, an IPv4 packet.
void check_ip(Bytes answer, Bytes input) {
  require(answer.size() >= 20 && load_u8(answer, 0) >> 4 == 4);
  const std::size_t header = (load_u8(answer, 0) & 0xfU) * 4U;
  require(header >= 20 && load_be16(answer, 2) == answer.size());
  require(internet_checksum(answer.first(header)) == 0);
  require((load_be16(answer, 6) & 0x3fff) == 0);  // no fragment
  require(input.size() >= 20);
  require(load_be32(answer, 12) == host_address.value() && load_be32(input, 16) == host_address.value());
  const std::uint32_t to = load_be32(answer, 16);
  require(to == load_be32(input, 12));
  require(to >> 24 != 0 && to >> 24 != 127 && to >> 28 != 0xe && to != 0xffffffff);
  require(to != host_address.value() && to != 0x0a0000ff && to != 0x0a000000);

  const Bytes payload = answer.subspan(header);
  const Bytes asked = input.subspan((load_u8(input, 0) & 0xfU) * 4U);
  const std::uint8_t protocol = load_u8(input, 9);
  switch (load_u8(answer, 9)) {
    case ip_protocol::icmp: {
      require(payload.size() >= 8 && internet_checksum(payload) == 0);
      const std::uint8_t type = load_u8(payload, 0);
      if (type == 0) {
        require(protocol == ip_protocol::icmp && load_u8(asked, 0) == 8);
        require(std::equal(payload.begin() + 4, payload.end(), asked.begin() + 4));
      } else {
        require(type == 3 && protocol != ip_protocol::icmp && protocol != ip_protocol::tcp);
        require(load_u8(payload, 1) == (protocol == ip_protocol::udp ? 3 : 2));
        require(payload.size() >= 28 && answer.size() <= 576);
      }
      break;
    }
    case ip_protocol::udp:
      require(protocol == ip_protocol::udp && payload.size() >= 8 && load_be16(payload, 4) == payload.size());
      require(load_be16(payload, 6) == 0 || sum_with_pseudo_header(answer, payload) == 0);
      require(load_be16(payload, 0) == echo_port && load_be16(payload, 2) == load_be16(asked, 0));
      for (const unsigned port : {0U, 7U, 13U, 17U, 19U, 37U, unsigned{echo_port}})
        require(load_be16(payload, 2) != port);
      break;
    case ip_protocol::tcp:
      require(protocol == ip_protocol::tcp && payload.size() == 20);
      require(sum_with_pseudo_header(answer, payload) == 0);
      require((load_u8(payload, 13) & 4) != 0 && (load_u8(asked, 13) & 4) == 0);
      break;
    default:
      require(false);
  }
}

bool is_fragment(Bytes frame) {
  const std::size_t at = network_offset(frame);
  return frame.size() >= at + 8 && load_be16(frame, at - 2) == 0x0800 &&
         (load_be16(frame, at + 6) & 0x3fff) != 0;
}

void check_answer(Bytes answer, Bytes frame) {
  require(answer.size() >= 14 && frame.size() >= 14);
  require(MacAddress::load(answer, 6) == host_mac);
  require(!MacAddress::load(answer, 0).is_multicast());
  require(MacAddress::load(answer, 0) == MacAddress::load(frame, 6));
  const std::size_t at = network_offset(answer);
  require(at == network_offset(frame));  // the tags are kept
  const std::uint16_t type = load_be16(answer, at - 2);
  require(type == load_be16(frame, at - 2));
  if (type == 0x0800) {
    require(!MacAddress::load(frame, 0).is_multicast());
    return check_ip(answer.subspan(at), frame.subspan(at));
  }
  require(type == 0x0806 && answer.size() >= at + 28 && frame.size() >= at + 28);
  const Bytes arp = answer.subspan(at);
  const Bytes asked = frame.subspan(at);
  require(load_be16(asked, 6) == 1 && load_be32(asked, 24) == host_address.value());
  require(load_be16(arp, 6) == 2 && MacAddress::load(arp, 8) == host_mac);
  require(load_be32(arp, 14) == host_address.value() && load_be32(arp, 24) == load_be32(asked, 14));
}

/// One frame, spoilt or made up, and its virtio header.
struct Sent {
  Buffer frame;
  PacketOffload left;
};

Sent make_frame(fuzz::Input& input) {
  const std::uint8_t choice = input.u8();
  Sent sent;
  if ((choice & 1) != 0) {
    sent.frame = input.take(14U + input.u8());
  } else {
    shapes::Shape shape{
        .kind = DeviceKind::tap, .tags = 0, .flags = input.u8(), .tcp_options = (choice & 2) != 0};
    shape.protocol = (choice & 4) != 0 ? ip_protocol::udp : ip_protocol::tcp;
    shape.extras = (choice & 8) != 0;
    const PacketOffload offload = shapes::offload_of(shape, 1 + input.u8());
    const bool super = (choice & 16) != 0;
    sent.frame = shapes::super_packet(shape, input.take(input.u16() % 600));
    if (super) sent.left = offload;
    if ((choice & 32) != 0 && sent.frame.size() > shape.transport_offset() + 4)
      store_be16(MutableBytes{sent.frame}, shape.transport_offset() + 2, echo_port);
    for (unsigned i = choice >> 6; i > 0; --i) {
      const std::uint16_t at = input.u16();
      if (!sent.frame.empty()) sent.frame[at % sent.frame.size()] = static_cast<std::byte>(input.u8());
    }
  }
  if ((choice & 64) != 0) {
    Buffer header = input.take(virtio_header::size);
    header.resize(virtio_header::size);
    DropReason why{};
    sent.left = virtio_header::decode(header, std::endian::little, sent.frame, DeviceKind::tap, why)
                    .value_or(PacketOffload{});
  }
  if (sent.left.is_super_packet() || sent.left.checksum == ChecksumState::to_fill) {
    // Only what a port delivers: a header that fits the packet.
    Buffer header(virtio_header::size);
    virtio_header::encode(sent.left, std::endian::little, header);
    DropReason why{};
    sent.left = virtio_header::decode(header, std::endian::little, sent.frame, DeviceKind::tap, why)
                    .value_or(PacketOffload{});
  }
  return sent;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  Host host{
      {.addresses = {host_address}, .mac = host_mac, .subnets = {IpPrefix{Ipv4Address{0x0a000001}, 24}}}};
  UdpEcho echo;
  host.add_udp(echo_port, echo);
  FakeTransport port;
  host.ethernet().connect(port);
  port.written.clear();  // announcements
  for (int frames = 0; frames < 8 && !input.empty(); ++frames) {
    const Sent sent = make_frame(input);
    constexpr std::size_t headroom = 32;
    Buffer space(headroom + sent.frame.size());
    std::ranges::copy(sent.frame, space.begin() + headroom);
    PacketOrigin origin;
    origin.kind = DeviceKind::tap;
    origin.bytes = MutableBytes{space}.subspan(headroom);
    origin.left = sent.left;
    BasePort* const some_port = reinterpret_cast<BasePort*>(&port);  // not null, and not used
    origin.port = some_port;
    const Packet packet{origin, false};
    const std::size_t datagrams = packet.datagrams();
    const std::uint64_t drops = port.drops.total();
    port.written.clear();
    host.ethernet().make_connection(port);
    host.ethernet().frame_received(packet);
    port.clock.advance(std::chrono::milliseconds{input.u8()});
    // A fragment waits for the others; the last of a datagram has the answer to the whole.
    if (is_fragment(sent.frame)) continue;
    require(port.written.size() <= datagrams);
    require(port.written.size() + (port.drops.total() - drops) + origin.aborted >= datagrams);
    for (const Buffer& answer : port.written) check_answer(answer, sent.frame);
  }
  host.ethernet().disconnect(port);
  return 0;
}
