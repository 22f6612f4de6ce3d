#include <bit>
#include <cstring>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

constexpr std::size_t ip_length_at(const Layout& layout) { return layout.ip + (layout.v6 ? 4U : 2U); }
constexpr std::size_t identification_at(const Layout& layout) { return layout.ip + 4U; }
constexpr std::size_t ip_checksum_at(const Layout& layout) { return layout.ip + 10U; }

/// The value of the IP header's length field: IPv4 includes the header, IPv6 does not.
constexpr std::size_t ip_length_of(const Layout& layout, std::size_t transport_size) {
  return layout.transport - layout.ip - (layout.v6 ? Ipv6Header::size : 0) + transport_size;
}

/// Copies at least 16 bytes, 16 at a time; the last 16 may overlap the previous. Makes no call, and has no
/// branch except the loop's.
void copy_headers(std::byte* out, const std::byte* headers, std::size_t size) {
  constexpr std::size_t step = 16;
  for (std::size_t at = 0; at + step < size; at += step) std::memcpy(out + at, headers + at, step);
  std::memcpy(out + size - step, headers + size - step, step);
}

/// Converts a number to the byte order of packets in memory, and back. Transport sums stay in memory order,
/// like the sums of payloads.
template <class Number>
constexpr Number in_memory(Number number) {
  return std::endian::native == std::endian::little ? byteswap(number) : number;
}

/// Stores a word in a single store. After the byte stores of `store_be16` the compiler would read members of
/// the segmenter again, because bytes may alias them.
template <class Word>
void put(std::byte* at, Word word) {
  std::memcpy(at, &word, sizeof word);
}

/// As `detail::fold16`, for sums of 32 bits.
constexpr std::uint16_t folded(std::uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum + (sum >> 16));
}

constexpr std::uint16_t complement(std::uint16_t word) { return static_cast<std::uint16_t>(~word); }

/// As `pseudo_header_sum`, by an adjustment of the packet's sum to another length. Precondition: the checksum
/// is left to fill.
std::uint32_t adjusted_sum(Bytes packet, const Layout& layout, std::uint16_t length) {
  const std::uint32_t sum = load_be16(packet, std::size_t{layout.transport} + checksum_offset_of(layout));
  return sum + complement(static_cast<std::uint16_t>(layout.transport_size())) + length;
}

}  // namespace

void Segmenter::start(MutableBytes packet, const PacketOffload& offload, DeviceKind kind) {
  reset();
  data_ = packet.data();
  const bool to_fill = offload.checksum == ChecksumState::to_fill;
  const auto layout = to_fill ? find_layout_to_fill(packet, kind) : find_layout(packet, kind);
  if (!layout || !offload.is_super_packet() || offload.segment_size == 0 ||
      layout->payload != offload.header_length || layout->payload > longest_headers)
    return;
  layout_ = *layout;
  header_length_ = layout->payload;
  segment_size_ = offload.segment_size;
  next_ = header_length_;
  end_ = layout->end;
  make_template(packet);
}

void Segmenter::reset() {
  data_ = nullptr;
  next_ = end_ = 0;
  index_ = 0;
}

void Segmenter::make_template(Bytes packet) {
  std::copy_n(packet.begin(), header_length_, template_.begin());
  const MutableBytes out = MutableBytes{template_}.first(header_length_);
  const std::size_t transport = layout_.transport;
  const auto transport_size = static_cast<std::uint16_t>(header_length_ - transport + segment_size_);
  const auto ip_length = static_cast<std::uint16_t>(ip_length_of(layout_, transport_size));

  if (!layout_.v6) {
    // Patched, not summed again (RFC 1624, equation 3): an error in the header stays an error.
    identification_ = load_be16(out, identification_at(layout_));
    ip_sum_ = detail::fold16(std::uint64_t{complement(load_be16(out, ip_checksum_at(layout_)))} +
                             complement(identification_) + complement(load_be16(out, ip_length_at(layout_))) +
                             ip_length);
  }
  store_be16(out, ip_length_at(layout_), ip_length);

  pseudo_sum_ = layout_.en_route ? adjusted_sum(packet, layout_, transport_size)
                                 : pseudo_header_sum(packet, layout_, transport_size);
  checksum_at_ = static_cast<std::uint32_t>(transport + checksum_offset_of(layout_));
  store_be16(out, checksum_at_, 0);
  is_tcp_ = layout_.protocol == ip_protocol::tcp;
  if (is_tcp_) {
    const std::uint8_t flags = load_u8(out, transport + TcpHeader::flags_offset);
    first_flags_ = flags & tcp_flag::cwr;
    last_flags_ = flags & (tcp_flag::fin | tcp_flag::psh);
    store_u8(out, transport + TcpHeader::flags_offset,
             static_cast<std::uint8_t>(flags & ~(first_flags_ | last_flags_)));
    sequence_ = load_be32(out, transport + TcpHeader::sequence_offset);
    store_be32(out, transport + TcpHeader::sequence_offset, 0);
  } else {
    store_be16(out, transport + UdpHeader::length_offset, transport_size);
  }
  transport_sum_ = std::uint32_t{in_memory(detail::fold16(pseudo_sum_))} +
                   detail::fold16(detail::sum_words(out.subspan(transport)));
  store_be16(out, checksum_at_, detail::fold16(pseudo_sum_));
}

void Segmenter::patch_edge(std::byte* out, std::size_t payload_size, std::uint32_t& ip_sum,
                           std::uint64_t& sum) const {
  const MutableBytes headers{out, header_length_};
  if (payload_size != segment_size_) {
    const auto shorter = static_cast<std::uint16_t>(segment_size_ - payload_size);
    const auto patch = [&](std::size_t at) {
      store_be16(headers, at, static_cast<std::uint16_t>(load_be16(headers, at) - shorter));
    };
    // In one's complement, subtraction is the addition of the complement.
    patch(ip_length_at(layout_));
    ip_sum += complement(shorter);
    sum += in_memory(complement(shorter));
    if (!is_tcp_) {
      patch(layout_.transport + UdpHeader::length_offset);
      sum += in_memory(complement(shorter));
    }
    store_be16(headers, checksum_at_, folded(pseudo_sum_ + complement(shorter)));
  }
  if (is_tcp_) {
    const bool is_last = next_ + payload_size == end_;
    const auto flags =
        static_cast<std::uint8_t>((index_ == 0 ? first_flags_ : 0) | (is_last ? last_flags_ : 0));
    const std::size_t at = layout_.transport + TcpHeader::flags_offset;
    store_u8(headers, at, static_cast<std::uint8_t>(load_u8(headers, at) | flags));
    sum += in_memory(std::uint16_t{flags});
  }
}

template <bool is_edge>
inline void Segmenter::write(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                             std::uint64_t payload_sum) const {
  copy_headers(out, template_.data(), header_length_);
  std::uint32_t ip_sum = ip_sum_;
  std::uint64_t sum = transport_sum_ + payload_sum;
  if constexpr (is_edge) patch_edge(out, payload_size, ip_sum, sum);
  if (!layout_.v6) {
    const auto identification = static_cast<std::uint16_t>(identification_ + index_);
    put(out + identification_at(layout_), in_memory(identification));
    put(out + ip_checksum_at(layout_), in_memory(complement(folded(ip_sum + identification))));
  }
  if (is_tcp_) {
    const std::uint32_t sequence =
        in_memory(static_cast<std::uint32_t>(sequence_ + (next_ - header_length_)));
    put(out + layout_.transport + TcpHeader::sequence_offset, sequence);
    sum += (sequence >> 16) + (sequence & 0xffff);
  }
  if (wanted == ChecksumState::verified) {
    std::uint16_t checksum = complement(detail::fold16(sum));
    if (checksum == 0 && !is_tcp_) checksum = 0xffff;
    put(out + checksum_at_, checksum);
  }
}

/// Out of line: the datagrams in the middle need no saved registers.
[[gnu::noinline]] void Segmenter::write_edge(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                                             std::uint64_t payload_sum) const {
  write<true>(out, payload_size, wanted, payload_sum);
}

inline void Segmenter::write_headers(std::byte* out, std::size_t payload_size, ChecksumState wanted,
                                     std::uint64_t payload_sum) const {
  if (is_edge(payload_size)) [[unlikely]]
    write_edge(out, payload_size, wanted, payload_sum);
  else
    write<false>(out, payload_size, wanted, payload_sum);
}

MutableBytes Segmenter::next_in_place(ChecksumState wanted) {
  const MutableBytes payload = peek();
  if (payload.empty()) return {};
  // The most frequent case, without a call.
  if (wanted == ChecksumState::to_fill && !is_edge(payload.size())) {
    const MutableBytes datagram{payload.data() - header_length_, header_length_ + payload.size()};
    write<false>(datagram.data(), payload.size(), ChecksumState::to_fill, 0);
    advance(payload.size());
    return datagram;
  }
  return in_place(payload, wanted);
}

[[gnu::noinline]] MutableBytes Segmenter::in_place(MutableBytes payload, ChecksumState wanted) {
  const std::uint64_t sum = wanted == ChecksumState::verified ? detail::sum_words(payload) : 0;
  const MutableBytes datagram{payload.data() - header_length_, header_length_ + payload.size()};
  write_headers(datagram.data(), payload.size(), wanted, sum);
  advance(payload.size());
  return datagram;
}

std::size_t Segmenter::next_into(MutableBytes out, ChecksumState wanted) {
  const MutableBytes payload = peek();
  if (payload.empty()) return 0;
  const std::size_t size = header_length_ + payload.size();
  const MutableBytes datagram = out.first(size);
  const MutableBytes copy = datagram.subspan(header_length_);
  std::uint64_t sum = 0;
  if (wanted == ChecksumState::verified)
    sum = detail::sum_and_copy_words(copy, payload);
  else
    std::memcpy(copy.data(), payload.data(), payload.size());
  write_headers(datagram.data(), payload.size(), wanted, sum);
  advance(payload.size());
  return size;
}

}  // namespace tunport
