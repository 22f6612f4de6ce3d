#pragma once
/// A growing super-packet, and the coalescer's rules for joining. The item's headers give the offsets at
/// which the headers of further datagrams are read.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tunport/base/bytes.hpp"
#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/flow_internal.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/wire/checksum.hpp"

namespace tunport::coalescing {

inline constexpr std::uint32_t udp_segments = 64;
inline constexpr std::size_t max_ip_size = 65535;

/// A future packet. Sums are of words loaded without a change of byte order.
struct Item {
  std::byte* head = nullptr;    // the first datagram: further headers are compared with its headers
  std::byte* cursor = nullptr;  // the place of the next payload; null if the last is referred to
  std::byte* limit = nullptr;   // the end of the room at the cursor
  std::uint32_t size = 0;
  std::uint32_t datagrams = 0;
  std::uint32_t full_size = 0;  // size of the first datagram
  std::uint32_t vacancies = 0;  // room for so many copies of datagrams of the full size
  std::uint32_t segment_size = 0;
  Flow flow{};
  bool open = false;
  bool summed = false;              // the sums are valid, and the first datagram is right
  bool pushed = false;              // the last datagram has PSH
  std::uint32_t network_sum = 0;    // the IPv4 header without length, identification and checksum
  std::uint32_t pseudo_sum = 0;     // the pseudo-header without the length
  std::uint32_t transport_sum = 0;  // pseudo and TCP/UDP header without lengths, checksum, sequence, flags
  std::uint32_t full_sum = 0;       // `transport_sum` with the lengths of a datagram of the full size
  std::uint32_t head_size = 0;      // bytes of the part at the head
  std::uint16_t first_part = 0;     // index of the first further part
  std::uint16_t last_part = 0;
  std::uint16_t parts = 0;  // number of further parts
  PacketOffload left{};     // offload of the first datagram
};

/// A sum of words, folded to 16 bits; 0 only for a sum of 0. The addition takes place in the upper half, to
/// which the lower half carries.
constexpr std::uint16_t fold(std::uint32_t sum) {
  return static_cast<std::uint16_t>((sum + std::rotl(sum, 16)) >> 16);
}
constexpr std::uint16_t fold(std::uint64_t sum) {
  return fold(static_cast<std::uint32_t>((sum + std::rotl(sum, 32)) >> 32));
}

/// The word with the given bytes in memory.
constexpr std::uint64_t mask_of(std::array<std::uint8_t, 8> bytes) {
  return std::bit_cast<std::uint64_t>(bytes);
}

/// True if the link headers are equal. `size`: 0 on TUN, else 14, 18 or 22 bytes.
inline bool same_link(const std::byte* one, const std::byte* other, std::size_t size) {
  if (size == 0) return true;
  const std::size_t middle = size - 8 < 8 ? size - 8 : 8;
  return ((load<std::uint64_t>(one) ^ load<std::uint64_t>(other)) |
          (load<std::uint64_t>(one + middle) ^ load<std::uint64_t>(other + middle)) |
          (load<std::uint64_t>(one + size - 8) ^ load<std::uint64_t>(other + size - 8))) == 0;
}

/// True if the headers are equal, except for checksums, IPv4's identification and TCP's sequence number.
/// `exact`: lengths and TCP's PSH and CWR are compared, too.
template <bool v6, bool udp, bool exact>
inline bool same_headers(const Item& item, const std::byte* data) {
  const std::byte* const one = item.head + item.flow.network;
  const std::byte* const other = data + item.flow.network;
  const auto differ = [&](std::size_t at) {
    return load<std::uint64_t>(one + at) ^ load<std::uint64_t>(other + at);
  };
  const auto differ32 = [&](std::size_t at) -> std::uint64_t {
    return load<std::uint32_t>(one + at) ^ load<std::uint32_t>(other + at);
  };
  constexpr std::uint8_t length = exact ? 0xff : 0;
  std::uint64_t difference = 0;
  std::size_t transport = 0;
  if constexpr (v6) {
    constexpr std::uint64_t but_length = mask_of({0xff, 0xff, 0xff, 0xff, length, length, 0xff, 0xff});
    difference = (differ(0) & but_length) | differ(8) | differ(16) | differ(24) | differ(32) | differ32(40);
    transport = Ipv6Header::size;
  } else {
    constexpr std::uint64_t but_length_and_id = mask_of({0xff, 0xff, length, length, 0, 0, 0xff, 0xff});
    constexpr std::uint64_t but_checksum = mask_of({0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff});
    difference = (differ(0) & but_length_and_id) | (differ(8) & but_checksum) | differ(16);
    transport = Ipv4Header::size;
  }
  if constexpr (!udp) {
    // The acknowledgement, the offset, the window, and the flags.
    constexpr std::uint8_t same_flags = exact ? 0xff : 0xff & ~(tcp_flag::psh | tcp_flag::cwr);
    constexpr std::uint64_t but_flags = mask_of({0xff, 0xff, 0xff, 0xff, 0xff, same_flags, 0xff, 0xff});
    constexpr std::uint64_t urgent = mask_of({0, 0, 0xff, 0xff, 0, 0, 0, 0});
    constexpr auto urgent32 =
        static_cast<std::uint32_t>(std::endian::native == std::endian::big ? urgent >> 32 : urgent);
    difference |= (differ(transport + 8) & but_flags) | (differ32(transport + 16) & urgent32);
    const std::size_t end = std::size_t{item.flow.header_length} - item.flow.network;
    for (std::size_t at = transport + TcpHeader::size; at < end; at += 4) difference |= differ32(at);
  } else if constexpr (exact) {
    constexpr auto udp_length =
        static_cast<std::uint32_t>(std::endian::native == std::endian::big ? 0xffff0000 : 0x0000ffff);
    difference |= differ32(transport + 4) & udp_length;
  }
  return difference == 0 && same_link(item.head, data, item.flow.network);
}

/// True if the IP packet and the UDP datagram end with the datagram. `length`: bytes of the transport header
/// and its payload.
template <bool v6, bool udp>
inline bool lengths_agree(const std::byte* network, const std::byte* transport, std::size_t length) {
  if (udp && load<std::uint16_t>(transport + 4) != wire_order(length)) return false;
  return v6 ? load<std::uint16_t>(network + 4) == wire_order(length)
            : load<std::uint16_t>(network + 2) == wire_order(length + Ipv4Header::size);
}

/// True if the datagram has the numbers of the item's next segment.
template <bool v6, bool udp>
inline bool follows(const Item& item, const std::byte* network, const std::byte* transport) {
  if constexpr (!v6) {
    const std::byte* const first = item.head + item.flow.network;
    const bool atomic = std::to_integer<std::uint8_t>(first[6] & std::byte{0x40}) != 0;
    const auto expected =
        static_cast<std::uint16_t>(wire_order(load<std::uint16_t>(first + 4)) + item.datagrams);
    if (!atomic && wire_order(load<std::uint16_t>(network + 4)) != expected) return false;
  }
  if constexpr (!udp) {
    if ((std::to_integer<std::uint8_t>(transport[TcpHeader::flags_offset]) & tcp_flag::cwr) != 0)
      return false;
    const auto sequence_of = [](const std::byte* header) {
      return load_be32({header, TcpHeader::size}, TcpHeader::sequence_offset);
    };
    const std::uint32_t expected =
        sequence_of(item.head + item.flow.transport) + (item.size - item.flow.header_length);
    if (sequence_of(transport) != expected) return false;
  }
  return true;
}

/// Sums the fields that are the same in all datagrams of the item.
template <bool v6, bool udp>
inline void sum_headers(Item& item) {
  const std::byte* const network = item.head + item.flow.network;
  const std::byte* const transport = item.head + item.flow.transport;
  std::uint64_t addresses = 0;
  for (const std::byte* at = transport - (v6 ? 32 : 8); at != transport; at += 4)
    addresses += load<std::uint32_t>(at);
  if constexpr (!v6)
    item.network_sum = fold(addresses + load<std::uint16_t>(network) + load<std::uint16_t>(network + 6) +
                            load<std::uint16_t>(network + 8));
  const std::uint64_t pseudo = addresses + wire_order(udp ? ip_protocol::udp : ip_protocol::tcp);
  item.pseudo_sum = fold(pseudo);
  std::uint64_t both = pseudo + load<std::uint32_t>(transport);
  if constexpr (!udp) {
    both += std::uint64_t{load<std::uint32_t>(transport + 8)} + load<std::uint16_t>(transport + 14) +
            load<std::uint16_t>(transport + 18);
    for (const std::byte* at = transport + TcpHeader::size; at != item.head + item.flow.header_length;
         at += 4)
      both += load<std::uint32_t>(at);
  }
  item.transport_sum = fold(both);
}

/// The right checksum of an IPv4 header of the item's flow, as the field is loaded.
inline std::uint16_t ip_checksum(const Item& item, const std::byte* network) {
  return static_cast<std::uint16_t>(
      ~fold(item.network_sum + load<std::uint16_t>(network + 2) + load<std::uint16_t>(network + 4)));
}

template <bool v6>
inline bool has_right_ip_checksum(const Item& item, const std::byte* network) {
  return v6 || load<std::uint16_t>(network + 10) == ip_checksum(item, network);
}

/// True if the checksum of a datagram of the item's flow is right. `sum`: the item's sum for the datagram's
/// length, and the payload's sum.
template <bool udp>
inline bool has_right_sum(const std::byte* transport, std::uint64_t sum) {
  if constexpr (!udp)
    sum += std::uint64_t{load<std::uint32_t>(transport + TcpHeader::sequence_offset)} +
           load<std::uint16_t>(transport + 12);
  const auto right = static_cast<std::uint16_t>(~fold(sum));
  return load<std::uint16_t>(transport + (udp ? 6 : TcpHeader::checksum_offset)) ==
         (udp && right == 0 ? 0xffff : right);
}

/// The item's sum with the length fields of a datagram. `length`: bytes of the transport header and its
/// payload.
template <bool udp>
inline std::uint32_t sum_with_length(const Item& item, std::size_t length) {
  return item.transport_sum + (udp ? 2U : 1U) * wire_order(length);
}

/// True if the checksum of a datagram of the item's flow is right, verified, or left to fill with the right
/// sum of the pseudo-header. `length`: bytes of the transport header and its payload. `payload_sum` is used
/// only if unverified.
template <bool udp>
inline bool has_right_checksum(const Item& item, const std::byte* transport, std::size_t length,
                               const PacketOffload& left, std::uint64_t payload_sum) {
  constexpr std::size_t offset = udp ? 6 : TcpHeader::checksum_offset;
  const auto field = load<std::uint16_t>(transport + offset);
  switch (left.checksum) {
    case ChecksumState::unverified:
      return has_right_sum<udp>(transport, sum_with_length<udp>(item, length) + payload_sum);
    case ChecksumState::verified:
      return !udp || field != 0;
    case ChecksumState::to_fill:
      return left.checksum_start == item.flow.transport && left.checksum_offset == offset &&
             field == fold(item.pseudo_sum + wire_order(length));
  }
  return false;
}

/// The bytes behind the item's cursor.
inline std::size_t room_in(const Item& item) { return static_cast<std::size_t>(item.limit - item.cursor); }

/// The number of whole segments with room in the item and behind the cursor.
inline std::uint32_t vacancies_of(const Item& item) {
  const std::size_t room = std::min(room_in(item), max_ip_size + item.flow.network - item.size);
  const std::size_t segments = room / item.segment_size;
  return static_cast<std::uint32_t>(
      item.flow.udp ? std::min<std::size_t>(segments, udp_segments - item.datagrams) : segments);
}

/// True if the short way may be tried: the datagram is as long as the item's first, is to be copied and
/// verified, and has room.
inline bool is_as_usual(const Item& item, Bytes datagram, const PacketOffload& left, Keep keep) {
  return datagram.size() == item.full_size && item.vacancies != 0 && keep == Keep::copy &&
         left.checksum == ChecksumState::unverified;
}

/// True if the datagram is the item's next, the checksum apart. Precondition: the datagram is as long as the
/// first.
template <bool v6, bool udp>
inline bool is_next(const Item& item, const std::byte* data) {
  const std::byte* const network = data + item.flow.network;
  return same_headers<v6, udp, true>(item, data) &&
         follows<v6, udp>(item, network, data + item.flow.transport) &&
         has_right_ip_checksum<v6>(item, network);
}

/// Counts another datagram as long as the first. The payload lies at the cursor.
inline void take_next(Item& item) {
  item.cursor += item.segment_size;
  item.size += item.segment_size;
  ++item.datagrams;
  --item.vacancies;
}

/// Up to so many bytes the call of a wide loop does not pay.
inline constexpr std::size_t small_payload = 128;

/// As `detail::sum_and_copy_words`, for the last bytes of a payload, less than 16.
inline std::uint64_t sum_and_copy_rest(std::byte* to, const std::byte* from, std::size_t size) {
  std::uint64_t sum = 0;
  if (size == 0) return sum;
  const auto add = [&]<typename Word>(Word word) {
    std::memcpy(&word, from, sizeof word);
    std::memcpy(to, &word, sizeof word);
    to += sizeof word;
    from += sizeof word;
    sum += word;
  };
  if ((size & 8) != 0) {
    add(std::uint32_t{});
    add(std::uint32_t{});
  }
  if ((size & 4) != 0) add(std::uint32_t{});
  if ((size & 2) != 0) add(std::uint16_t{});
  if ((size & 1) != 0) {
    // The first half of a pair; the second half is zero.
    const std::byte last[2] = {*from, {}};
    *to = *from;
    sum += load<std::uint16_t>(last);
  }
  return sum;
}

// Sum and copy of a small payload, in line. Of words w = 2^32 h + l the loop sums w, with wrap, and h. The
// sum of l is the sum of w less the sum of h times 2^32.

/// As `detail::sum_and_copy_words`, 16 bytes at a time.
inline std::uint64_t sum_and_copy_few(std::byte* to, const std::byte* from, std::size_t size) {
  using Vector = std::uint64_t __attribute__((vector_size(16)));
  Vector words{};
  Vector uppers{};
  for (; size >= sizeof(Vector); size -= sizeof(Vector), to += sizeof(Vector), from += sizeof(Vector)) {
    const auto vector = load<Vector>(from);
    std::memcpy(to, &vector, sizeof vector);
    words += vector;
    uppers += vector >> 32;
  }
  words += uppers - (uppers << 32);
  return words[0] + words[1] + sum_and_copy_rest(to, from, size);
}

/// Copies a payload, and returns the sum of its words.
inline std::uint64_t sum_and_copy(std::byte* to, const std::byte* from, std::size_t size) {
  return size <= small_payload ? sum_and_copy_few(to, from, size)
                               : detail::sum_and_copy_words({to, size}, {from, size});
}

/// True if the first datagram of an item may be followed. The checksums are verified later.
inline bool may_be_joined(const Item& item) {
  return item.flow.udp ||
         (std::to_integer<std::uint8_t>(item.head[item.flow.transport + TcpHeader::flags_offset]) &
          tcp_flag::psh) == 0;
}

/// The offload of an item with at least two datagrams.
inline PacketOffload super_packet_of(const Item& item) {
  const bool cwr = !item.flow.udp &&
                   (std::to_integer<std::uint8_t>(item.head[item.flow.transport + TcpHeader::flags_offset]) &
                    tcp_flag::cwr) != 0;
  const SegmentKind tcp = item.flow.v6 ? SegmentKind::tcp6 : SegmentKind::tcp4;
  return {.kind = item.flow.udp ? SegmentKind::udp : tcp,
          .checksum = ChecksumState::to_fill,
          .ecn = cwr,
          .segment_size = static_cast<std::uint16_t>(item.segment_size),
          .header_length = item.flow.header_length,
          .checksum_start = item.flow.transport,
          .checksum_offset = item.flow.udp ? std::uint16_t{6} : std::uint16_t{TcpHeader::checksum_offset}};
}

/// Turns the first datagram's headers into the headers of the super-packet. Precondition: the item has at
/// least two datagrams.
inline void patch_headers(const Item& item) {
  const MutableBytes network{item.head + item.flow.network,
                             std::size_t{item.flow.header_length} - item.flow.network};
  const MutableBytes transport{item.head + item.flow.transport,
                               std::size_t{item.flow.header_length} - item.flow.transport};
  const std::size_t length = item.size - item.flow.transport;
  if (item.flow.v6) {
    store_be16(network, 4, static_cast<std::uint16_t>(length));
  } else {
    store_be16(network, 2, static_cast<std::uint16_t>(item.size - item.flow.network));
    store_be16(network, 10, wire_order(ip_checksum(item, network.data())));
  }
  if (item.flow.udp) {
    store_be16(transport, 4, static_cast<std::uint16_t>(length));
  } else if (item.pushed) {
    transport[TcpHeader::flags_offset] |= std::byte{tcp_flag::psh};
  }
  store_be16(transport, item.flow.udp ? 6 : TcpHeader::checksum_offset,
             wire_order(fold(item.pseudo_sum + wire_order(length))));
}

}  // namespace tunport::coalescing
