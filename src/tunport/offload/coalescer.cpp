/// How datagrams become super-packets.
///
/// An *item* is what will be one packet. The first datagram of a flow begins an item, which is *open* while
/// others may join it. A datagram joins the open item of its flow if segmenting the result gives back what
/// came, byte for byte; otherwise it closes that item and begins one itself, behind it. So order within a
/// flow is kept, and a joined datagram takes the place of the first. The models are the kernel's
/// tcp_gro_receive and udp_gro_receive (net/ipv4/tcp_offload.c, udp_offload.c), with these rules:
///
///  - Joining needs the plain form: nothing behind the IP packet's end, IPv4 without options or IPv6 without
///    extension headers, no fragment, a payload. Where the flow is not looked for (a fragment, options,
///    lengths that disagree) every open item between the two addresses is closed.
///  - Headers are equal but for what segmentation sets: lengths, checksums, IPv4 identification, TCP's
///    sequence number, PSH and CWR. So another TTL, TOS, ECN mark, flow label, MAC address, VLAN tag,
///    acknowledgement, window, flag or option closes the item.
///  - A payload is as long as the first, or shorter, which closes the item. UDP has 64 segments at most
///    (UDP_MAX_SEGMENTS before Linux 6.9), the IP packet 65535 bytes.
///  - TCP's sequence numbers follow each other. PSH closes the item; FIN, SYN, RST, URG and a lack of payload
///    never join; only the first may carry CWR, for which the device must take over ECN.
///  - IPv4 identifications count up by one, as those of segments do. With DF set they may be any: such a
///    datagram is atomic, and its identification means nothing (RFC 6864 4.1). That is the one field which
///    whoever segments the packet may find changed.
///  - The IPv4 header's checksum is right, and the datagram's is right as well, known to be, or ours to fill
///    with the right pseudo-header sum before it. A wrong one goes out as it is, alone. UDP without checksum
///    never joins: the segments would get one. Right means the very number that a sender computes: what is 0
///    in one's complement has two forms, and segments are given the usual one.
///
/// Nothing of this is looked at when an item is begun, except for whether others may join: a flow that sends
/// once pays for a copy and a hash. The first datagram is verified when the second comes.
///
/// The bytes. All is in one arena, filled from the front and emptied by a flush. An item starts with
/// headroom, then its first datagram, whose headers are what others are compared with, and are patched at the
/// end. Payloads go right behind: the last item has what is left of the arena, until another begins, so a
/// flow written in a row is one contiguous packet. Once another item lies there the payloads go on in a chunk
/// elsewhere, of the size that the item has already, so that flows which take turns have a few parts each,
/// not one for every datagram. A payload by reference is a part, too.
///
/// The flows. A hash table of small numbers, twice as large as there may be items, with linear probing,
/// refers to the latest item of each flow. Nothing is ever taken out of it but by the flush.
///
/// What it costs. Three ways, the shorter ones first, each with the whole of the rules: `add_next` and
/// `join_next` take what differs from the first of the item that was joined last in nothing but its numbers
/// and payload, by a few wide comparisons, without parsing; `join_as` takes whatever may join an item; and
/// `add_to_its_flow` parses and looks the item up first. A small payload is copied and summed in line, in
/// vectors as wide as the machine has, and a large one in one pass: verifying costs hardly more than copying
/// (bench/micro_coalesce.cpp).

#include "tunport/offload/coalescer.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tunport/offload/coalescer_state_internal.hpp"
#include "tunport/offload/flow_internal.hpp"
#include "tunport/offload/item_internal.hpp"

namespace tunport {

using namespace coalescing;

namespace {

// A part of its own costs the kernel about as much as copying so many bytes costs us.
constexpr std::size_t worth_gathering = 512;
// An item's first payload begins at one: the kernel puts it at the start of a page, and copies fastest what
// lies alike.
constexpr std::size_t cache_line = 64;
// How much of a datagram whose headers are not known is copied before the rest is referred to.
constexpr std::size_t unknown_front = 128;

constexpr std::uint8_t short_way_of(bool v6, bool udp, bool large) {
  return static_cast<std::uint8_t>(1 + 4 * static_cast<int>(large) + 2 * static_cast<int>(v6) +
                                   static_cast<int>(udp));
}

}  // namespace

void Coalescer::State::clear() {
  if (item_count == 0) return;
  end = arena.get();
  tail = latest = nullptr;
  item_count = part_count = 0;
  open_items = 0;
  slots.fill(0);
}

/// Room for `size` more bytes of the item, behind what it has if that can be, and for more to come; nothing
/// if there is none. It is taken by moving the item's cursor.
inline std::byte* Coalescer::State::place(Item& item, std::size_t size) {
  const std::size_t there = room_in(item);
  return there >= size || make_room(item, size, there) ? item.cursor : nullptr;
}

bool Coalescer::State::make_room(Item& item, std::size_t size, std::size_t there) {
  const std::size_t to_come = item.flow.udp ? (udp_segments - item.datagrams) * std::size_t{item.segment_size}
                                            : max_ip_size + item.flow.network - item.size;
  if (item.limit == end) {
    // As much as it may ever want: what it does not need is given back.
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

/// Takes back what the last chunk was given for what might come, but for so many bytes.
void Coalescer::State::give_back(std::size_t but) {
  if (tail == nullptr || tail->limit != end || room_in(*tail) <= but) return;
  end = tail->limit = tail->cursor + but;
  tail->vacancies = vacancies_of(*tail);
}

/// Notes how far the item's last part has come.
void Coalescer::State::settle(Item& item) {
  if (item.cursor == nullptr) return;
  if (item.parts == 0) {
    item.head_size = static_cast<std::uint32_t>(item.cursor - item.head);
  } else {
    parts[item.last_part].size = static_cast<std::uint32_t>(item.cursor - parts[item.last_part].data);
  }
}

/// Precondition: there is one in the pool.
void Coalescer::State::append_part(Item& item, const std::byte* data, std::size_t size) {
  settle(item);
  const auto index = static_cast<std::uint16_t>(part_count++);
  (item.parts++ == 0 ? item.first_part : parts[item.last_part].next) = index;
  item.last_part = index;
  item.cursor = item.limit = nullptr;
  // iovec has no form for bytes that are only read; only the first part, which is ours, is ever written to.
  parts[index] = {const_cast<std::byte*>(data), static_cast<std::uint32_t>(size), 0};
}

/// The place of the flow in the table, its own or a free one. There is always one that is free.
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

/// Prepares the item for others to join, once; false if its own datagram forbids it.
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
  item.short_way = short_way_of(v6, udp, item.segment_size > small_payload);
  item.full_sum = sum_with_length<udp>(item, item.full_size - item.flow.transport);
  return true;
}

/// Precondition: the datagram is longer than the item's headers, and not longer than the item's first.
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
  // Copied before it is known to be right: what the cursor has not passed is nobody's.
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

/// What `join_as` does where nothing is special. Precondition: `is_as_usual`.
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
  // Unsigned: a datagram that is shorter than the headers is too long as well.
  if (datagram.size() - item.flow.header_length - 1 >= item.segment_size) return Outcome::other;
  if (item.flow.udp)
    return item.flow.v6 ? join_as<true, true>(item, datagram, left, keep)
                        : join_as<false, true>(item, datagram, left, keep);
  return item.flow.v6 ? join_as<true, false>(item, datagram, left, keep)
                      : join_as<false, false>(item, datagram, left, keep);
}

/// The latest item is tried first if a second datagram has joined it: where each is another flow's, that
/// would be for nothing.
bool Coalescer::State::add(Bytes datagram, const PacketOffload& left, Keep keep,
                           const OffloadFeatures& device) {
  if (latest != nullptr && latest->summed) {
    const Outcome outcome = join(*latest, datagram, left, keep);
    if (outcome != Outcome::other) return outcome == Outcome::joined;
  }
  return add_to_its_flow(datagram, left, keep, device);
}

/// `join_next` with the latest item, or whatever else is to be done.
template <bool v6, bool udp, class SumAndCopy>
[[gnu::always_inline]] inline bool Coalescer::State::add_next_by(SumAndCopy sum_and_copy_payload,
                                                                 Bytes datagram,
                                                                 const OffloadFeatures& device) {
  Item& item = *latest;
  const std::byte* const data = datagram.data();
  if (!is_next<v6, udp>(item, data)) return add_to_its_flow(datagram, {}, Keep::copy, device);
  const std::uint64_t sum =
      sum_and_copy_payload(item.cursor, data + item.flow.header_length, item.segment_size);
  if (!has_right_sum<udp>(data + item.flow.transport, item.full_sum + sum))
    return add_to_its_flow(datagram, {}, Keep::copy, device);
  take_next(item);
  return true;
}

template <bool v6, bool udp>
bool Coalescer::State::add_next(State& self, Bytes datagram, const OffloadFeatures& device) {
  return self.add_next_by<v6, udp>(sum_and_copy_few, datagram, device);
}

template <bool v6, bool udp>
bool Coalescer::State::add_large_next(State& self, Bytes datagram, const OffloadFeatures& device) {
  const auto sum_and_copy_payload = [](std::byte* to, const std::byte* from, std::size_t size) {
    return detail::sum_and_copy_words({to, size}, {from, size});
  };
  return self.add_next_by<v6, udp>(sum_and_copy_payload, datagram, device);
}

#ifdef TUNPORT_AVX2
template <bool v6, bool udp>
TUNPORT_AVX2 bool Coalescer::State::add_next_avx2(State& self, Bytes datagram,
                                                  const OffloadFeatures& device) {
  return self.add_next_by<v6, udp>([](std::byte* to, const std::byte* from, std::size_t size)
                                       TUNPORT_AVX2 { return sum_and_copy_few_avx2(to, from, size); },
                                   datagram, device);
}
#endif

Coalescer::State::AllAddNext Coalescer::State::choose_add_next() {
  AllAddNext all{add_next<false, false>,      add_next<false, true>,        add_next<true, false>,
                 add_next<true, true>,        add_large_next<false, false>, add_large_next<false, true>,
                 add_large_next<true, false>, add_large_next<true, true>};
#ifdef TUNPORT_AVX2
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") != 0) {
    all[0] = add_next_avx2<false, false>;
    all[1] = add_next_avx2<false, true>;
    all[2] = add_next_avx2<true, false>;
    all[3] = add_next_avx2<true, true>;
  }
#endif
  return all;
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

/// A new item. `slot` is the flow's, if it has one.
bool Coalescer::State::begin(Bytes datagram, Flow flow, const PacketOffload& left, Keep keep,
                             const OffloadFeatures& device, std::uint8_t* slot) {
  const std::size_t front = slot != nullptr ? flow.header_length : std::min(datagram.size(), unknown_front);
  const std::size_t rest = datagram.size() - front;
  // A checksum that is left to fill may be filled in place meanwhile, wherever its field is.
  const std::size_t filled = std::size_t{left.checksum_start} + left.checksum_offset + 2;
  const bool stays = left.checksum != ChecksumState::to_fill || filled <= front;
  const bool by_reference = keep == Keep::reference && rest >= worth_gathering && stays;
  const std::size_t copied = by_reference ? front : datagram.size();
  give_back(0);
  if (item_count == max_items || room() < headroom + copied || (by_reference && part_count == pool_size))
    return false;
  const std::size_t to_line = -reinterpret_cast<std::uintptr_t>(end + headroom + front) % cache_line;
  // With room for the datagram twice: one in parts has been put together at the arena's far end.
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
  item.short_way = 0;
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

bool Coalescer::add(Bytes datagram, const OffloadFeatures& device) {
  if (state_ != nullptr && state_->latest != nullptr) {
    const Item& item = *state_->latest;
    if (datagram.size() == item.full_size && item.vacancies != 0 && item.short_way != 0)
      return state_->add_next_in_short_way[item.short_way - 1U](*state_, datagram, device);
  }
  return add(datagram, {}, Keep::copy, device);
}

bool Coalescer::add(Bytes datagram, const PacketOffload& left, Keep keep, const OffloadFeatures& device) {
  if (!state_) state_ = std::make_unique<State>(kind_, capacity_);
  return state_->add(datagram, left, keep, device);
}

bool Coalescer::add(std::span<const Bytes> parts, const PacketOffload& left, const OffloadFeatures& device) {
  if (!state_) state_ = std::make_unique<State>(kind_, capacity_);
  std::size_t size = 0;
  for (const Bytes part : parts) size += part.size();
  // Put together at the arena's far end, from where it is added like any other.
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
    // A chunk stays empty if the datagram that it was for did not join.
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
