// The three ways of segmentation give the same datagrams for every accepted super-packet. The datagrams are
// whole and right, have the payload of the super-packet, and equal the result of the plain way.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"

#include "input.hpp"
#include "support/apart.hpp"
#include "support/shape.hpp"

namespace {

using namespace tunport;
using fuzz::require;
using shapes::Buffer;

/// The datagram, with 0 for a wrong IPv4 header checksum: the segmenter keeps a wrong checksum wrong, the
/// plain way makes the checksum right.
Buffer comparable(Bytes datagram, const Layout& layout, bool right) {
  Buffer bytes{datagram.begin(), datagram.end()};
  if (!layout.v6 && !right) store_be16(MutableBytes{bytes}, layout.ip + 10U, 0);
  return bytes;
}

void check(const Buffer& packet, const PacketOffload& offload, DeviceKind kind) {
  Buffer for_in_place = packet;
  Buffer for_into = packet;
  Buffer for_payload = packet;
  Segmenter in_place;
  Segmenter into;
  Segmenter payload;
  in_place.start(for_in_place, offload, kind);
  into.start(for_into, offload, kind);
  payload.start(for_payload, offload, kind);
  require(in_place.remaining() == datagrams_in(packet.size(), offload));

  const auto plain = apart::segments({packet, offload}, kind);
  require(plain.size() == in_place.remaining());
  const bool to_fill_it = offload.checksum == ChecksumState::to_fill;
  const auto whole = to_fill_it ? *find_layout_to_fill(packet, kind) : *find_layout(packet, kind);
  const bool right =
      whole.v6 || internet_checksum(Bytes{packet}.subspan(whole.ip, whole.transport - whole.ip)) == 0;
  std::size_t index = 0;
  std::size_t at = offload.header_length;
  Buffer out(into.largest());
  while (!in_place.done()) {
    const Bytes datagram = in_place.next_in_place(ChecksumState::verified);
    const Bytes copy = Bytes{out}.first(into.next_into(out, ChecksumState::verified));
    const Bytes slice = payload.next_payload();
    require(std::equal(datagram.begin(), datagram.end(), copy.begin(), copy.end()));
    const Bytes tail = datagram.subspan(offload.header_length);
    require(std::equal(tail.begin(), tail.end(), slice.begin(), slice.end()));
    require(std::equal(tail.begin(), tail.end(), packet.begin() + static_cast<std::ptrdiff_t>(at)));
    at += tail.size();
    require(!tail.empty() && tail.size() <= offload.segment_size);
    require(in_place.done() || tail.size() == offload.segment_size);
    const auto layout = find_layout_to_fill(datagram, kind);
    require(layout && layout->payload == offload.header_length && layout->end == datagram.size());
    require(whole.en_route || verify_checksum(datagram, *layout));
    require(comparable(datagram, whole, right) == comparable(plain[index++].bytes, whole, right));
  }
  require(at == packet.size() && into.done() && payload.done());
  require(for_into == packet && for_payload == packet);

  // Datagrams with checksums left to fill, and then filled, are the same.
  Buffer left = packet;
  Segmenter first;
  Segmenter second;
  first.start(left, offload, kind);
  second.start(for_payload, offload, kind);
  PacketOffload to_fill{.checksum = ChecksumState::to_fill};
  to_fill.checksum_start = static_cast<std::uint16_t>(whole.transport);
  to_fill.checksum_offset = checksum_offset_of(whole);
  while (!first.done()) {
    const MutableBytes datagram = first.next_in_place(ChecksumState::to_fill);
    complete_checksum(datagram, to_fill);
    second.next_into(out, ChecksumState::verified);
    require(std::equal(datagram.begin(), datagram.end(), out.begin()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  const std::uint8_t choice = input.u8();
  auto kind = (choice & 1) != 0 ? DeviceKind::tap : DeviceKind::tun;
  Buffer header(virtio_header::size);
  Buffer packet;
  if ((choice & 2) != 0) {
    header = input.take(virtio_header::size);
    header.resize(virtio_header::size);
    packet = input.rest();
  } else {
    // A right packet, spoilt in places: arbitrary bytes rarely make a packet.
    static const auto all = shapes::all();
    shapes::Shape shape = all[input.u8() % all.size()];
    kind = shape.kind;
    shape.flags = input.u8();
    shape.tcp_options = (choice & 4) != 0;
    shape.identification = input.u16();
    shape.sequence = static_cast<std::uint32_t>(input.u16()) << 16 | input.u16();
    PacketOffload offload = shapes::offload_of(shape, input.u16() % 512);
    struct Spot {
      std::uint16_t at;
      std::uint8_t value;
    };
    std::vector<Spot> spots;
    for (unsigned i = choice >> 5; i > 0; --i) {
      const std::uint16_t at = input.u16();
      spots.push_back({at, input.u8()});
    }
    packet = shapes::super_packet(shape, input.rest());
    virtio_header::encode(offload, std::endian::little, header);
    for (const Spot& spot : spots) {
      Buffer& target = (spot.at & 1) != 0 ? header : packet;
      target[(spot.at >> 1) % target.size()] = static_cast<std::byte>(spot.value);
    }
  }
  DropReason why{};
  const auto offload = virtio_header::decode(header, std::endian::little, packet, kind, why);
  if (offload && offload->is_super_packet()) check(packet, *offload, kind);
  return 0;
}
