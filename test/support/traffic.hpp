#pragma once
/// Traffic of several flows with all faults of a real path, made from small numbers, and the properties of
/// traffic after coalescing: for the property tests of coalescing and its fuzzer.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"

#include "support/apart.hpp"
#include "support/shape.hpp"

namespace tunport::traffic {

using apart::Packet;
using shapes::Buffer;
using shapes::Shape;

/// A datagram, or an event on the way of a datagram.
struct Step {
  std::uint8_t flow = 0;
  std::uint8_t event = 0;
  std::uint8_t size = 0;  // of the payload
  std::uint8_t at = 0;    // the place of a change in the headers
  std::uint8_t flip = 0;  // the bits of the change

  bool operator==(const Step&) const = default;
};

/// The flows: of each kind two between the same addresses, and a third from another address.
inline std::vector<Shape> flows(DeviceKind kind) {
  std::vector<Shape> result;
  for (const bool v6 : {false, true})
    for (const std::uint8_t protocol : {ip_protocol::tcp, ip_protocol::udp}) {
      const Shape shape{
          .protocol = protocol, .v6 = v6, .kind = kind, .tags = kind == DeviceKind::tap ? 1U : 0U};
      Shape same_host = shape;
      same_host.source_port = 40001;
      Shape other = shape;
      other.source4 = Ipv4Address{0x0a000063};
      other.source6 = other.destination6;
      result.insert(result.end(), {shape, same_host, other});
    }
  return result;
}

/// The traffic: each step sends its flow's next datagram, in most cases without an event.
inline std::vector<Packet> make(DeviceKind kind, std::span<const Step> steps) {
  std::vector<Shape> shapes = flows(kind);
  std::vector<Packet> result;
  for (const Step& step : steps) {
    Shape& shape = shapes[step.flow % shapes.size()];
    constexpr std::size_t sizes[] = {100, 100, 100, 100, 99, 101, 1, 0, 600, 600};
    const std::size_t size = sizes[step.size % std::size(sizes)];
    const std::uint8_t usual_flags = shape.flags;
    Packet packet;
    bool atomic = true;
    bool whole = true;
    const auto event = step.event % 40;
    if (event == 1) shape.flags |= tcp_flag::psh;
    if (event == 2) shape.flags |= tcp_flag::fin;
    if (event == 3 || event == 4) shape.flags |= tcp_flag::cwr;
    if (event == 5) shape.sequence += 77;
    if (event == 6) shape.identification = static_cast<std::uint16_t>(shape.identification + 3);
    if (event == 7) shape.extras = true;
    packet.bytes = shapes::datagram(shape, shapes::some_bytes(size, step.at));
    const MutableBytes bytes{packet.bytes};
    if (event >= 8 && event < 14) atomic = false;
    if (!atomic && !shape.v6) {
      store_u8(bytes, shape.ip_offset() + 6, 0);
      packet.bytes = apart::mended(packet.bytes, kind);
    }
    const MutableBytes sent{packet.bytes};
    if (event == 14) sent.back() ^= std::byte{1};  // wrong, against its checksum
    if (event == 15 && !shape.v6) sent[shape.ip_offset() + 10] ^= std::byte{1};
    if (event == 16 && !shape.is_tcp()) store_be16(sent, shape.transport_offset() + 6, 0);
    if (event == 17) packet.bytes.push_back({});
    if (event == 18) packet.bytes.pop_back();
    if (event == 19 && !shape.v6) {
      store_be16(sent, shape.ip_offset() + 6, 0x2001);  // a fragment
      store_be16(sent, shape.ip_offset() + 10, 0);
      store_be16(sent, shape.ip_offset() + 10, internet_checksum(sent.subspan(shape.ip_offset(), 20)));
    }
    if (event == 19 && shape.v6) {  // a fragment, too: next header, offset, more fragments
      const MutableBytes ip = sent.subspan(shape.ip_offset());
      store_u8(ip, 6, ip_protocol::ipv6_fragment);
      store_u8(ip, 40, shape.protocol);
      store_u8(ip, 41, 0);
      store_be16(ip, 42, 0x0009);
    }
    if (event == 20 || event == 21) {
      // Another fault in the headers; event 20 corrects the checksums where possible.
      sent[step.at % shape.header_length()] ^= std::byte{step.flip};
      if (event == 20 && find_layout(packet.bytes, kind)) packet.bytes = apart::mended(packet.bytes, kind);
    }
    if (event >= 22 && event < 26) packet.left.checksum = ChecksumState::verified;
    if (event >= 26 && event < 30) {
      shapes::put_pseudo_header_sum(MutableBytes{packet.bytes}, shape);
      packet.left = {.checksum = ChecksumState::to_fill,
                     .checksum_start = static_cast<std::uint16_t>(shape.transport_offset()),
                     .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset())};
    }
    if (event == 30) whole = false;  // lost
    if (whole) result.push_back(packet);
    if (event == 31) result.push_back(packet);  // came twice
    if (event == 32 && result.size() > 1) std::swap(result.back(), result[result.size() - 2]);
    shape.sequence += static_cast<std::uint32_t>(size);
    ++shape.identification;
    shape.flags = usual_flags;
    shape.extras = false;
  }
  return result;
}

/// The owner of a datagram, as far as order matters.
struct Owner {
  std::string addresses;  // empty without addresses
  std::string flow;       // empty without a flow
  bool fragment = false;
};

inline Owner owner_of(const Packet& packet, DeviceKind kind) {
  const Bytes bytes{packet.bytes};
  Owner owner;
  const auto text = [&](std::size_t offset, std::size_t size) {
    return std::string{as_text(bytes.subspan(offset, size))};
  };
  if (const auto layout = find_layout(bytes, kind)) {
    owner.addresses = layout->v6 ? text(layout->ip + 8U, 32) : text(layout->ip + 12U, 8);
    owner.flow = owner.addresses + static_cast<char>(layout->protocol) + text(layout->transport, 4);
    return owner;
  }
  const std::size_t ip = kind == DeviceKind::tap ? 18 : 0;  // with the tag of all flows
  const auto is = [&](unsigned version, std::size_t size, std::uint16_t type) {
    return bytes.size() >= ip + size && load_u8(bytes, ip) >> 4 == version &&
           (ip == 0 || load_be16(bytes, ip - 2) == type);
  };
  if (is(4, Ipv4Header::size, ethertype::ipv4) && (load_be16(bytes, ip + 6) & 0x3fff) != 0) {
    owner.addresses = text(ip + 12, 8);
    owner.fragment = true;
  }
  if (is(6, Ipv6Header::size, ethertype::ipv6) && load_u8(bytes, ip + 6) == ip_protocol::ipv6_fragment) {
    owner.addresses = text(ip + 8, 32);
    owner.fragment = true;
  }
  return owner;
}

/// True if `one` and `other` must keep their order.
inline bool must_keep_order(const Owner& one, const Owner& other) {
  if (one.addresses.empty() || one.addresses != other.addresses) return false;
  return one.fragment || other.fragment || one.flow == other.flow;
}

/// The fault of `packets` as the coalescing of `added`; empty without a fault.
inline std::string fault(const std::vector<Packet>& added, const std::vector<Packet>& packets,
                         DeviceKind kind, const OffloadFeatures& device) {
  std::vector<Buffer> essences;
  std::vector<Owner> owners;
  for (const Packet& packet : added) {
    essences.push_back(apart::essence(packet, kind));
    owners.push_back(owner_of(packet, kind));
  }
  std::vector<bool> seen(added.size());
  std::vector<std::size_t> order;  // of the output, as indices of the input
  std::optional<std::size_t> previous;
  for (const Packet& packet : packets) {
    const auto segments = apart::segments(packet, kind);
    if (segments.size() != packet.datagrams) return "the number of segments is not the given number";
    if (!device.covers(packet.left) && packet.datagrams > 1) return "more than the device takes";
    const std::size_t first = order.size();
    for (const Packet& segment : segments) {
      const Buffer wanted = apart::essence(segment, kind);
      std::size_t index = 0;
      while (index < added.size() && (seen[index] || essences[index] != wanted)) ++index;
      if (index == added.size()) return "a datagram from nowhere";
      seen[index] = true;
      order.push_back(index);
    }
    if (packet.datagrams == 1 && !(packet == added[order[first]])) return "a single datagram has changed";
    if (previous && *previous > order[first]) return "packets in another order than their first datagrams";
    previous = order[first];
  }
  if (order.size() != added.size()) return "a datagram is missing";
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = i + 1; j < order.size(); ++j)
      if (order[i] > order[j] && must_keep_order(owners[order[i]], owners[order[j]]) &&
          essences[order[i]] != essences[order[j]])
        return "a flow in another order";
  return {};
}

/// The fault of the segmenter's segments, compared with the plain way; empty without a fault.
inline std::string segmenter_fault(Packet packet, DeviceKind kind) {
  if (!packet.left.is_super_packet()) return {};
  Segmenter segmenter;
  const auto wanted = apart::segments(packet, kind);
  segmenter.start(packet.bytes, packet.left, kind);
  Buffer out(segmenter.largest());
  for (const Packet& segment : wanted) {
    const std::size_t size = segmenter.next_into(out, ChecksumState::verified);
    if (Buffer{out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)} != segment.bytes)
      return "a segment differs from the plain way's";
  }
  return segmenter.done() ? std::string{} : "the segmenter makes too many segments";
}

/// The coalescer's function that adds a datagram.
enum class Way : std::uint8_t { copied, by_reference, in_parts };
inline constexpr Way ways[] = {Way::copied, Way::by_reference, Way::in_parts};

inline bool add(Coalescer& coalescer, const Packet& packet, const OffloadFeatures& device, Way way) {
  const Bytes bytes{packet.bytes};
  switch (way) {
    case Way::copied:
      break;
    case Way::by_reference:
      return coalescer.add(bytes, packet.left, Keep::reference, device);
    case Way::in_parts: {
      const Bytes parts[] = {bytes.first(bytes.size() / 3), bytes.subspan(bytes.size() / 3)};
      return coalescer.add(parts, packet.left, device);
    }
  }
  return coalescer.add(bytes, packet.left, Keep::copy, device);
}

/// Adds `added`, flushes whenever the coalescer is full, and checks the output. Returns the fault, or empty.
inline std::string fault_of_coalescing(const std::vector<Packet>& added, DeviceKind kind,
                                       const OffloadFeatures& device, std::size_t capacity, Way way) {
  Coalescer coalescer{kind, capacity};
  std::vector<Packet> batch;
  const auto flush = [&] {
    const auto packets = apart::flushed(coalescer);
    std::string result = fault(std::exchange(batch, {}), packets, kind, device);
    for (const Packet& packet : packets)
      if (result.empty()) result = segmenter_fault(packet, kind);
    return result;
  };
  for (const Packet& packet : added) {
    if (!add(coalescer, packet, device, way)) {
      if (auto result = flush(); !result.empty()) return result;
      if (!add(coalescer, packet, device, way)) return "an empty coalescer takes no datagram";
    }
    batch.push_back(packet);
  }
  return flush();
}

}  // namespace tunport::traffic
