#include <algorithm>
#include <chrono>

#include "tunport/protocol/reassembly_internal.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

constexpr std::size_t longest_header = 512;  // with extension headers of IPv6 before the fragment header
constexpr std::size_t longest_packet = 0xffff;
constexpr std::size_t most_ranges = 256;
constexpr std::size_t payload_length_at = 4;   // in the IPv6 header
constexpr std::size_t fragment_offset_at = 2;  // in the fragment header

/// The longest payload behind a header: the length field of IPv4 counts the header, that of IPv6 the
/// extension headers.
constexpr std::size_t longest_payload(bool v4, std::size_t header_size) {
  return longest_packet - header_size + (v4 ? 0 : Ipv6Header::size);
}

/// The least bytes of an upper layer's header.
std::size_t least_header(std::uint8_t protocol) {
  switch (protocol) {
    case ip_protocol::tcp:
      return TcpHeader::size;
    case ip_protocol::udp:
      return UdpHeader::size;
    case ip_protocol::icmpv6:
      return Icmpv6Header::size;
    case ip_protocol::no_next_header:
      return 0;
    default:
      return 1;
  }
}

/// False if the first fragment of an IPv6 datagram ends before the end of the upper layer's header (RFC 8200
/// 4.5). A filter en route cannot know what such a datagram is. `payload` follows the fragment header.
bool has_all_headers(std::uint8_t protocol, Bytes payload) {
  for (;;) {
    std::size_t size = 8;
    if (protocol == ip_protocol::routing || protocol == ip_protocol::destination_options)
      size = payload.size() < 2 ? size : (load_u8(payload, 1) + std::size_t{1}) * 8;
    else if (protocol != ip_protocol::ipv6_fragment)
      return payload.size() >= least_header(protocol);
    if (payload.size() < size) return false;
    protocol = load_u8(payload, 0);
    payload = payload.subspan(size);
  }
}

}  // namespace

Reassembly::Place Reassembly::find(const IpDatagram& fragment, const IpFragment& part) {
  const IpView& ip = fragment.ip;
  FrameTransport& port = fragment.arrival.transport;
  const std::uint8_t protocol = ip.is_v4() ? part.protocol : 0;
  const auto place = std::ranges::find_if(datagrams_, [&](const Datagram& datagram) {
    return datagram.identification == part.identification && datagram.protocol == protocol &&
           datagram.port == &port && datagram.source == ip.source() &&
           datagram.destination == ip.destination();
  });
  if (place != datagrams_.end()) return place;
  if (datagrams_.size() >= most_) drop(datagrams_.begin(), DropReason::ip_fragment);
  Datagram& made = datagrams_.emplace_back();
  made.source = ip.source();
  made.destination = ip.destination();
  made.identification = part.identification;
  made.protocol = protocol;
  made.port = &port;
  made.memory = std::make_unique_for_overwrite<std::byte[]>(longest_header + longest_packet);
  const auto at = std::prev(datagrams_.end());
  made.timeout =
      port.reactor().call_later(std::chrono::seconds{ip.is_v4() ? 30 : 60}, [this, at] { time_out(at); });
  return at;
}

/// Notes the bytes from `begin` to `end`. False for an overlap in part.
bool Reassembly::insert(Datagram& datagram, std::size_t begin, std::size_t end, bool& duplicate) {
  auto& ranges = datagram.ranges;
  auto next = std::ranges::find_if(ranges, [&](const auto& range) { return range.second >= begin; });
  if (next != ranges.end() && next->first <= begin && end <= next->second) {
    duplicate = true;
    return true;
  }
  if (next != ranges.end() && next->second == begin) {  // goes on behind a range
    const auto follows = std::next(next);
    if (follows != ranges.end() && follows->first < end) return false;
    next->second = end;
    if (follows != ranges.end() && follows->first == end) {
      next->second = follows->second;
      ranges.erase(follows);
    }
    return true;
  }
  if (next != ranges.end() && next->first < end) return false;
  if (next != ranges.end() && next->first == end) {
    next->first = begin;
    return true;
  }
  if (ranges.size() == most_ranges) return false;
  ranges.insert(next, {begin, end});
  return true;
}

/// The packet, with its header made whole.
Bytes Reassembly::finish(Datagram& datagram, std::uint8_t protocol, std::size_t protocol_at, bool v4) {
  const MutableBytes packet{datagram.memory.get() + longest_header - datagram.header_size,
                            datagram.header_size + datagram.total};
  if (v4) {
    store_be16(packet, 2, static_cast<std::uint16_t>(packet.size()));
    store_be16(packet, 6, 0);
    store_be16(packet, 10, 0);
    store_be16(packet, 10, internet_checksum(packet.first(datagram.header_size)));
  } else {
    store_be16(packet, 4, static_cast<std::uint16_t>(packet.size() - Ipv6Header::size));
    store_u8(packet, protocol_at, protocol);
  }
  return packet;
}

Reassembly::Whole Reassembly::add(const IpDatagram& fragment) {
  const IpView& ip = fragment.ip;
  const Arrival& arrival = fragment.arrival;
  const IpFragment part = ip.fragment();
  const Bytes payload = ip.payload();
  const std::size_t end = part.offset + payload.size();
  const Bytes header = ip.header();
  if (most_ == 0) {
    arrival.transport.drop(DropReason::ip_fragment);
    return {};
  }
  const bool is_uneven = part.more && payload.size() % 8 != 0;
  const bool is_beyond = end > longest_payload(ip.is_v4(), header.size());
  if (payload.empty() || is_uneven || is_beyond || header.size() > longest_header) {
    if (!ip.is_v4() && (is_uneven || is_beyond))
      refused_(fragment, {.pointer = is_uneven ? payload_length_at : header.size() + fragment_offset_at});
    else
      arrival.transport.drop(DropReason::ip_bad_fragment);
    return {};
  }
  // Hop-by-hop options stand before the fragment header only. Put together, the datagram would hide their
  // place.
  if (!ip.is_v4() && part.offset == 0 &&
      (part.protocol == ip_protocol::hop_by_hop || !has_all_headers(part.protocol, payload))) {
    arrival.transport.drop(DropReason::ip_bad_fragment);
    return {};
  }
  const Place place = find(fragment, part);
  Datagram& datagram = *place;
  ++datagram.fragments;
  if (datagram.overlapped) return {};
  const bool beyond = datagram.total != 0 && (end > datagram.total || (!part.more && end != datagram.total));
  const bool before = !part.more && !datagram.ranges.empty() && datagram.ranges.back().second > end;
  bool duplicate = false;
  const bool fits = !beyond && !before && insert(datagram, part.offset, end, duplicate);
  // The last fragment is no duplicate of bytes that came as others than the last.
  if (!fits || (duplicate && !part.more && datagram.total == 0)) {
    datagram.overlapped = true;  // remembered until the time is over
    datagram.memory.reset();
    return {};
  }
  if (duplicate) return {};
  std::ranges::copy(payload, datagram.memory.get() + longest_header + part.offset);
  if (!part.more) datagram.total = end;
  if (part.offset == 0) {
    datagram.header_size = header.size();
    std::ranges::copy(header, datagram.memory.get() + longest_header - header.size());
    const Bytes frame = arrival.ethernet != nullptr ? arrival.ethernet->bytes() : ip.bytes();
    datagram.first.assign(frame.begin(), frame.end());
    datagram.first_ip_at = static_cast<std::size_t>(ip.bytes().data() - frame.data());
    datagram.local_mac = arrival.local_mac;
  }
  const bool whole = datagram.total != 0 && datagram.ranges.size() == 1 && datagram.ranges[0].first == 0 &&
                     datagram.ranges[0].second == datagram.total;
  if (!whole) return {};
  if (datagram.total > longest_payload(ip.is_v4(), datagram.header_size)) {
    drop(place, DropReason::ip_bad_fragment);
    return {};
  }
  // The protocol number is the first fragment's, whose header is kept.
  DropReason ignored{};
  const auto first = IpView::checked(Bytes{datagram.first}.subspan(datagram.first_ip_at), ignored);
  if (!first) return {};
  const Bytes packet = finish(datagram, first->fragment().protocol, first->protocol_at(), ip.is_v4());
  Whole result{std::move(datagram.memory), packet};
  datagrams_.erase(place);
  return result;
}

void Reassembly::drop(Place place, DropReason reason) {
  place->port->drop(place->overlapped ? DropReason::ip_bad_fragment : reason, place->fragments);
  datagrams_.erase(place);
}

void Reassembly::time_out(Place place) {
  std::list<Datagram> late;
  late.splice(late.begin(), datagrams_, place);
  const Datagram& datagram = late.front();
  FrameTransport& port = *datagram.port;
  port.drop(datagram.overlapped ? DropReason::ip_bad_fragment : DropReason::ip_fragment, datagram.fragments);
  if (datagram.overlapped || datagram.header_size == 0) return;
  DropReason ignored{};
  std::optional<EthernetView> frame;
  if (datagram.first_ip_at != 0) frame = EthernetView::checked(datagram.first, ignored);
  const Bytes bytes = Bytes{datagram.first}.subspan(datagram.first_ip_at);
  const auto ip = IpView::checked(bytes, ignored);
  if (!ip) return;
  const Arrival arrival{port, frame ? &*frame : nullptr, datagram.local_mac, Packet{bytes}};
  timed_out_({*ip, arrival});
}

void Reassembly::forget(const FrameTransport* port) {
  for (auto at = datagrams_.begin(); at != datagrams_.end();) {
    const auto next = std::next(at);
    if (port == nullptr || at->port == port) drop(at, DropReason::aborted);
    at = next;
  }
}

}  // namespace tunport
