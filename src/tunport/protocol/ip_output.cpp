#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

constexpr std::size_t fragment_header_size = 8;
constexpr std::size_t longest_header =
    std::max(Ipv4Header::max_size, Ipv6Header::size + fragment_header_size);

/// The identification of the next fragmented datagram: different from those before, for a long time.
std::uint32_t next_identification() {
  static std::atomic<std::uint32_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

/// Writes the header of a fragment, or of a whole datagram if neither `offset` nor `more`. Returns the
/// header's size.
std::size_t emit(MutableBytes out, const IpOutput& output, std::size_t payload, std::size_t offset, bool more,
                 std::uint32_t identification) {
  const bool whole = offset == 0 && !more;
  if (output.source.is_v4()) {
    const Ipv4Header header{.tos = output.fields.tos,
                            .identification = static_cast<std::uint16_t>(whole ? 0 : identification),
                            .dont_fragment = whole,
                            .more_fragments = more,
                            .fragment_offset = static_cast<std::uint16_t>(offset),
                            .ttl = output.fields.hop_limit,
                            .protocol = output.protocol,
                            .source = output.source.v4(),
                            .destination = output.destination.v4(),
                            .options = output.fields.options,
                            .payload_length = static_cast<std::uint16_t>(payload)};
    header.emit(out);
    return header.header_length();
  }
  const std::size_t extension = whole ? 0 : fragment_header_size;
  Ipv6Header{.traffic_class = output.fields.tos,
             .next_header = whole ? output.protocol : ip_protocol::ipv6_fragment,
             .hop_limit = output.fields.hop_limit,
             .source = output.source.v6(),
             .destination = output.destination.v6(),
             .payload_length = static_cast<std::uint16_t>(payload + extension)}
      .emit(out);
  if (whole) return Ipv6Header::size;
  store_u8(out, Ipv6Header::size, output.protocol);
  store_u8(out, Ipv6Header::size + 1, 0);
  store_be16(out, Ipv6Header::size + 2, static_cast<std::uint16_t>(offset | (more ? 1U : 0U)));
  store_be32(out, Ipv6Header::size + 4, identification);
  return Ipv6Header::size + fragment_header_size;
}

}  // namespace

WriteResult send_ip(const IpOutput& output, std::span<const Bytes> payload, std::size_t mtu,
                    FunctionRef<WriteResult(std::span<const Bytes>)> write) {
  const std::size_t size = size_of(payload);
  const bool v4 = output.source.is_v4();
  const std::size_t header = v4 ? Ipv4Header::size + output.fields.options.size() : Ipv6Header::size;
  if (payload.size() > max_ip_parts || size > Ipv4Header::max_total_length - (v4 ? header : 0))
    return WriteResult::make_refused(DropReason::too_long);
  std::array<std::byte, longest_header> bytes;
  std::array<Bytes, max_ip_parts + 1> parts;
  if (mtu == 0 || header + size <= mtu) {
    parts[0] = Bytes{bytes}.first(emit(bytes, output, size, 0, false, 0));
    std::ranges::copy(payload, parts.begin() + 1);
    return write(std::span{parts}.first(payload.size() + 1));
  }
  // Rare, so an allocation is allowed. Options that are not copied into fragments (RFC 791 3.1) are not sent
  // by tunport.
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(size);
  std::byte* end = memory.get();
  for (const Bytes part : payload) end = std::ranges::copy(part, end).out;
  const std::size_t overhead = header + (v4 ? 0 : fragment_header_size);
  const std::size_t step = std::max<std::size_t>(mtu > overhead ? (mtu - overhead) / 8 * 8 : 0, 8);
  const std::uint32_t identification = next_identification();
  WriteResult result = WriteResult::make_sent();
  for (std::size_t at = 0; at < size; at += step) {
    const std::size_t part = std::min(step, size - at);
    parts[0] = Bytes{bytes}.first(emit(bytes, output, part, at, at + part < size, identification));
    parts[1] = {memory.get() + at, part};
    const WriteResult written = write(std::span{parts}.first(2));
    if (!written) return written;
    if (written.status() == WriteResult::queued) result = written;
  }
  return result;
}

}  // namespace tunport
