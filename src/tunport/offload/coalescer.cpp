/// How datagrams become super-packets.
///
/// An *item* is a future packet. The first datagram of a flow begins an item. An item is *open* while further
/// datagrams may join. A datagram joins the open item of its flow if segmentation of the result gives back
/// the same datagrams, byte for byte. Otherwise the datagram closes the item, and begins a new item behind.
/// So a flow keeps its order, and a joined datagram takes the place of the first. The models are the kernel's
/// tcp_gro_receive and udp_gro_receive (net/ipv4/tcp_offload.c, udp_offload.c). The rules:
///
///  - The plain form joins: no bytes behind the IP packet, no IPv4 options, no IPv6 extension headers, no
///    fragment, a payload. A datagram of an unknown flow (a fragment, options, lengths that disagree) closes
///    every open item between the two addresses.
///  - Headers are equal, except for the fields that segmentation sets: lengths, checksums, IPv4
///    identification, TCP's sequence number, PSH and CWR. A different TTL, TOS, ECN mark, flow label, MAC
///    address, VLAN tag, acknowledgement, window, flag or option closes the item.
///  - A payload is as long as the first. A shorter payload joins, and closes the item. UDP has at most 64
///    segments (UDP_MAX_SEGMENTS before Linux 6.9), an IP packet at most 65535 bytes.
///  - TCP sequence numbers are consecutive. PSH closes the item. FIN, SYN, RST, URG and an empty payload
///    never join. Only the first datagram may carry CWR, and the device must then take over ECN.
///  - IPv4 identifications count up by 1, like the identifications of segments. A datagram with DF is atomic:
///    its identification is arbitrary and without meaning (RFC 6864 4.1). Segmentation may change
///    this field only.
///  - The IPv4 header's checksum is right. The transport's checksum is right, verified, or left to fill with
///    the right sum of the pseudo-header. A datagram with a wrong checksum is sent alone and unchanged. UDP
///    without a checksum never joins: the segments would get a checksum. A right checksum is the number that
///    a sender computes: 0 has two forms in one's complement, and segments get the usual form.
///
/// The start of an item checks only for later joins: a datagram alone costs a copy and a hash. The second
/// datagram has the first verified.
///
/// The bytes. An arena has all bytes; datagrams fill it from the front, and a flush empties it. An item has
/// headroom, then the first datagram: its headers are compared with the headers of further datagrams, and
/// patched at the end. Payloads follow. The last item has the rest of the arena until the next item begins,
/// so a flow written in a row becomes a contiguous packet. Later payloads of an earlier item go to a chunk as
/// large as the item, so flows that take turns have a few parts each, not a part for every datagram. A
/// payload by reference is a part, too.
///
/// The flows. A hash table of small numbers, twice as large as the number of items, with linear probing,
/// refers to the latest item of each flow. Only a flush removes entries.
///
/// Costs. There are three ways, each with all rules, the shortest first. `join_next` takes a datagram that
/// differs from the first only in numbers and payload: a few wide comparisons. `join_as` takes every datagram
/// that may join an item. `add_to_its_flow` parses the datagram, and looks up the item; the item joined last
/// needs neither. A small payload is copied and summed in line; a large payload in a single pass: verifying
/// costs little beyond the copy. docs/performance.md has the figure of each ("The coalescer's ways").

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/coalescer_state_internal.hpp"
#include "tunport/offload/flow_internal.hpp"
#include "tunport/offload/item_internal.hpp"

namespace tunport {

using namespace coalescing;

namespace {

// A separate part costs the kernel about as much as a copy of so many bytes costs the coalescer.
constexpr std::size_t worth_gathering = 512;
// An item's first payload begins at a cache line: the kernel puts the payload at the start of a page, and
// copies fastest between equal alignments.
constexpr std::size_t cache_line = 64;
// Of a datagram of an unknown flow so many bytes are copied; the rest may be referred to.
constexpr std::size_t unknown_front = 128;

}  // namespace

void Coalescer::State::clear() {
  if (item_count == 0) return;
  end = arena.get();
  tail = latest = nullptr;
  item_count = part_count = 0;
  open_items = 0;
  slots.fill(0);
}

/// Room for `size` more bytes of the item, right behind the last payload if possible, and for later payloads;
/// null without room. The caller takes the room by moving the item's cursor.
inline std::byte* Coalescer::State::place(Item& item, std::size_t size) {
  const std::size_t there = room_in(item);
  return there >= size || make_room(item, size, there) ? item.cursor : nullptr;
}

bool Coalescer::State::make_room(Item& item, std::size_t size, std::size_t there) {
  const std::size_t to_come = item.flow.udp ? (udp_segments - item.datagrams) * std::size_t{item.segment_size}
                                            : max_ip_size + item.flow.network - item.size;
  if (item.limit == end) {
    // All that the item may want: `give_back` returns the unused room.
    if (room() < size - there) return false;
    item.limit = end += std::min(room(), std::max(size - there, to_come));
  } else {
    if (tail != nullptr) give_back(tail->size);
    if (room() < size || part_count == pool_size) return false;
    append_part(item, end, 0);
    item.cursor = end;
    item.limit = end += std::min(room(), std::max(size, std::min<std::size_t>(item.size, to_come)));
  }
  tail = &item;
  return true;
}

/// Takes the unused room of the last chunk back, except for `but` bytes.
void Coalescer::State::give_back(std::size_t but) {
  if (tail == nullptr || tail->limit != end || room_in(*tail) <= but) return;
  end = tail->limit = tail->cursor + but;
  tail->vacancies = vacancies_of(*tail);
}

/// Notes the size of the item's last part.
void Coalescer::State::settle(Item& item) {
  if (item.cursor == nullptr) return;
  if (item.parts == 0) {
    item.head_size = static_cast<std::uint32_t>(item.cursor - item.head);
  } else {
    parts[item.last_part].size = static_cast<std::uint32_t>(item.cursor - parts[item.last_part].data);
  }
}

/// Precondition: the pool has a free part.
void Coalescer::State::append_part(Item& item, const std::byte* data, std::size_t size) {
  settle(item);
  const auto index = static_cast<std::uint16_t>(part_count++);
  (item.parts++ == 0 ? item.first_part : parts[item.last_part].next) = index;
  item.last_part = index;
  item.cursor = item.limit = nullptr;
  // iovec has no form for constant bytes. Only the first part is written to, and its bytes are in the arena.
  parts[index] = {const_cast<std::byte*>(data), static_cast<std::uint32_t>(size), 0};
}

/// The flow's place in the table, or a free place. A place is always free.
std::uint8_t* Coalescer::State::slot_of(Bytes datagram, const Flow& flow) {
  static_assert(std::has_single_bit(slot_count));
  constexpr int unused_bits = 64 - std::bit_width(slot_count - 1);
  const std::byte* network = datagram.data() + flow.network;
  for (std::size_t at = hash_endpoints(network, flow.v6) >> unused_bits;; at = (at + 1) % slot_count) {
    if (slots[at] == 0) return &slots[at];
    const Item& item = items[slots[at] - 1U];
    if (item.flow.v6 == flow.v6 && item.flow.udp == flow.udp &&
        same_endpoints(item.head + item.flow.network, network, flow.v6))
      return &slots[at];
  }
}

void Coalescer::State::close_between(const std::byte* network, bool v6) {
  for (std::uint64_t left = open_items; left != 0; left &= left - 1) {
    Item& item = items[static_cast<std::size_t>(std::countr_zero(left))];
    if (item.flow.v6 == v6 && same_addresses(item.head + item.flow.network, network, v6)) close(item);
  }
}

/// Prepares the item for joins, once; false if the first datagram forbids them.
template <bool v6, bool udp>
bool Coalescer::State::take_first(Item& item) const {
  sum_headers<v6, udp>(item);
  const std::byte* payload =
      item.parts == 0 ? item.head + item.flow.header_length : parts[item.first_part].data;
  std::uint64_t sum = 0;
  if (item.left.checksum == ChecksumState::unverified) sum = detail::sum_words({payload, item.segment_size});
  const std::size_t length = item.size - item.flow.transport;
  if (!has_right_ip_checksum<v6>(item, item.head + item.flow.network)) return false;
  if (!has_right_checksum<udp>(item, item.head + item.flow.transport, length, item.left, sum)) return false;
  item.summed = true;
  item.full_sum = sum_with_length<udp>(item, item.full_size - item.flow.transport);
  return true;
}

/// Joins a datagram to an item if the rules allow. Precondition: the datagram is longer than the item's
/// headers, and at most as long as the item's first.
template <bool v6, bool udp>
Outcome Coalescer::State::join_as(Item& item, Bytes datagram, const PacketOffload& left, Keep keep) {
  const std::byte* const data = datagram.data();
  const std::byte* const network = data + item.flow.network;
  const std::byte* const transport = data + item.flow.transport;
  const std::size_t payload = datagram.size() - item.flow.header_length;
  const std::size_t length = datagram.size() - item.flow.transport;
  if (!same_headers<v6, udp, false>(item, data)) return Outcome::other;
  if (!lengths_agree<v6, udp>(network, transport, length) || !follows<v6, udp>(item, network, transport))
    return Outcome::other;
  if (udp && item.datagrams == udp_segments) return Outcome::other;
  if (item.size - item.flow.network + payload > max_ip_size || item.parts + 1 == max_parts)
    return Outcome::other;
  if (!item.summed && !take_first<v6, udp>(item)) return Outcome::other;
  if (!has_right_ip_checksum<v6>(item, network)) return Outcome::other;

  const bool by_reference = keep == Keep::reference && payload >= worth_gathering;
  std::byte* to = nullptr;
  if (by_reference) {
    if (part_count == pool_size) return Outcome::full;
  } else {
    to = place(item, payload);
    if (to == nullptr) return Outcome::full;
  }
  // The copy precedes the check: bytes behind the cursor have no owner.
  const std::byte* const from = data + item.flow.header_length;
  std::uint64_t sum = 0;
  if (left.checksum == ChecksumState::unverified) {
    sum = by_reference ? detail::sum_words({from, payload}) : sum_and_copy(to, from, payload);
  } else if (!by_reference) {
    std::memcpy(to, from, payload);
  }
  if (!has_right_checksum<udp>(item, transport, length, left, sum)) return Outcome::other;

  if (by_reference) {
    append_part(item, from, payload);
  } else {
    item.cursor += payload;
  }
  item.size += static_cast<std::uint32_t>(payload);
  ++item.datagrams;
  item.vacancies = vacancies_of(item);
  bool closes = payload < item.segment_size;
  if constexpr (!udp) {
    item.pushed = (load_u8(datagram, item.flow.transport + TcpHeader::flags_offset) & tcp_flag::psh) != 0;
    closes |= item.pushed;
  }
  if (closes) {
    close(item);
  } else {
    latest = &item;
  }
  return Outcome::joined;
}

/// As `join_as`, for the usual datagram. Precondition: `is_as_usual`.
template <bool v6, bool udp>
bool Coalescer::State::join_next(Item& item, const std::byte* data) {
  if (!is_next<v6, udp>(item, data)) return false;
  const std::size_t payload = item.segment_size;
  const std::uint64_t sum = sum_and_copy(item.cursor, data + item.flow.header_length, payload);
  if (!has_right_sum<udp>(data + item.flow.transport, item.full_sum + sum)) return false;
  take_next(item);
  latest = &item;
  return true;
}

Outcome Coalescer::State::join(Item& item, Bytes datagram, const PacketOffload& left, Keep keep) {
  const std::byte* const data = datagram.data();
  if (is_as_usual(item, datagram, left, keep)) {
    const bool joined =
        item.flow.udp  ? item.flow.v6 ? join_next<true, true>(item, data) : join_next<false, true>(item, data)
         : item.flow.v6 ? join_next<true, false>(item, data)
                       : join_next<false, false>(item, data);
    if (joined) return Outcome::joined;
  }
  // Unsigned: a datagram shorter than the headers counts as too long.
  if (datagram.size() - item.flow.header_length - 1 >= item.segment_size) return Outcome::other;
  if (item.flow.udp)
    return item.flow.v6 ? join_as<true, true>(item, datagram, left, keep)
                        : join_as<false, true>(item, datagram, left, keep);
  return item.flow.v6 ? join_as<true, false>(item, datagram, left, keep)
                      : join_as<false, false>(item, datagram, left, keep);
}

/// Tries the latest item first, if the item has at least two datagrams: with a flow for each datagram the
/// try would be in vain.
bool Coalescer::State::add(Bytes datagram, const PacketOffload& left, Keep keep,
                           const OffloadFeatures& device) {
  if (latest != nullptr && latest->summed) {
    const Outcome outcome = join(*latest, datagram, left, keep);
    if (outcome != Outcome::other) return outcome == Outcome::joined;
  }
  return add_to_its_flow(datagram, left, keep, device);
}

bool Coalescer::State::add_to_its_flow(Bytes datagram, const PacketOffload& left, Keep keep,
                                       const OffloadFeatures& device) {
  const Flow flow = classify(datagram, kind);
  std::uint8_t* slot = nullptr;
  switch (flow.standing) {
    case Standing::foreign:
      break;
    case Standing::opaque:
      close_between(datagram.data() + flow.network, flow.v6);
      break;
    case Standing::alone:
    case Standing::joinable:
      slot = slot_of(datagram, flow);
      if (*slot == 0) break;
      Item& item = items[*slot - 1U];
      if (!item.open) break;
      if (flow.standing == Standing::joinable) {
        const Outcome outcome = join(item, datagram, left, keep);
        if (outcome != Outcome::other) return outcome == Outcome::joined;
      }
      close(item);
      break;
  }
  return begin(datagram, flow, left, keep, device, slot);
}

/// Begins a new item. `slot` is the flow's place in the table, or null.
bool Coalescer::State::begin(Bytes datagram, Flow flow, const PacketOffload& left, Keep keep,
                             const OffloadFeatures& device, std::uint8_t* slot) {
  const std::size_t front = slot != nullptr ? flow.header_length : std::min(datagram.size(), unknown_front);
  const std::size_t rest = datagram.size() - front;
  // The caller may fill the checksum in the datagram before the flush: the field must lie in copied bytes.
  const std::size_t filled = std::size_t{left.checksum_start} + left.checksum_offset + 2;
  const bool stays = left.checksum != ChecksumState::to_fill || filled <= front;
  const bool by_reference = keep == Keep::reference && rest >= worth_gathering && stays;
  const std::size_t copied = by_reference ? front : datagram.size();
  give_back(0);
  if (item_count == max_items || room() < headroom + copied || (by_reference && part_count == pool_size))
    return false;
  const std::size_t to_line = -reinterpret_cast<std::uintptr_t>(end + headroom + front) % cache_line;
  // Room for the datagram twice: a datagram in parts was put together at the far end of the arena.
  const std::size_t before = headroom + (room() < headroom + to_line + 2 * copied ? 0 : to_line);

  Item& item = items[item_count++];
  std::byte* const head = end + before;
  std::memcpy(head, datagram.data(), copied);
  end = head + copied;
  item.head = head;
  item.cursor = item.limit = end;
  item.size = item.full_size = static_cast<std::uint32_t>(datagram.size());
  item.datagrams = 1;
  item.vacancies = 0;
  item.segment_size = static_cast<std::uint32_t>(rest);
  item.flow = flow;
  item.open = item.summed = item.pushed = false;
  item.parts = 0;
  item.left = left;
  tail = &item;
  if (by_reference) append_part(item, datagram.data() + front, rest);
  if (flow.standing != Standing::joinable || !may_be_joined(item) || !device.covers(super_packet_of(item)))
    return true;
  item.open = true;
  open_items |= std::uint64_t{1} << (item_count - 1);
  *slot = static_cast<std::uint8_t>(item_count);
  latest = &item;
  return true;
}

Coalescer::Coalescer(DeviceKind kind, std::size_t capacity) : kind_{kind}, capacity_{capacity} {}
Coalescer::~Coalescer() = default;

bool Coalescer::make_state() try {
  state_ = std::make_unique<State>(kind_, capacity_);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

bool Coalescer::add(Bytes datagram, const PacketOffload& left, Keep keep, const OffloadFeatures& device) {
  if (!state_ && !make_state()) return false;
  return state_->add(datagram, left, keep, device);
}

bool Coalescer::add(std::span<const Bytes> parts, const PacketOffload& left, const OffloadFeatures& device) {
  if (!state_ && !make_state()) return false;
  std::size_t size = 0;
  for (const Bytes part : parts) size += part.size();
  // The parts are put together at the far end of the arena, and the result is added.
  if (state_->room() < headroom + 2 * size) state_->give_back(0);
  if (state_->room() < headroom + 2 * size) return false;
  std::byte* const whole = state_->limit - size;
  std::byte* to = whole;
  for (const Bytes part : parts) to = std::copy(part.begin(), part.end(), to);
  return state_->add({whole, size}, left, Keep::copy, device);
}

void Coalescer::clear() {
  if (state_) state_->clear();
}

std::size_t Coalescer::size() const {
  std::size_t size = 0;
  for (std::size_t i = 0; i < items(); ++i) size += state_->items[i].datagrams;
  return size;
}

std::size_t Coalescer::bytes() const {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < items(); ++i) bytes += state_->items[i].size;
  return bytes;
}

std::size_t Coalescer::items() const { return state_ ? state_->item_count : 0; }

Coalesced Coalescer::finish(std::size_t index) {
  Item& item = state_->items[index];
  state_->settle(item);
  std::size_t count = 0;
  state_->gathered[count++] = {item.head, item.head_size};
  std::uint16_t at = item.first_part;
  for (std::size_t i = 0; i < item.parts; ++i) {
    const Part& part = state_->parts[at];
    // A chunk stays empty if the datagram for the chunk did not join.
    if (part.size != 0) state_->gathered[count++] = {part.data, part.size};
    at = part.next;
  }
  if (item.datagrams > 1) patch_headers(item);
  return {.parts = {state_->gathered.data(), count},
          .offload = item.datagrams > 1 ? super_packet_of(item) : item.left,
          .datagrams = item.datagrams,
          .size = item.size};
}

}  // namespace tunport
