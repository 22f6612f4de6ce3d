#include "tunport/port/frame_writer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "tunport/base/log.hpp"
#include "tunport/offload/checksum_state.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {
namespace {

constexpr std::size_t max_parts = 16;
constexpr int interrupted_retries = 8;
/// UDP_MAX_SEGMENTS before Linux 6.9: a kernel may refuse a packet of more for their number alone. TCP has no
/// such bound.
constexpr std::size_t fewest_max_udp_segments = 64;

iovec readable(Bytes bytes) { return {const_cast<std::byte*>(bytes.data()), bytes.size()}; }
Bytes bytes_of(const iovec& part) { return {static_cast<const std::byte*>(part.iov_base), part.iov_len}; }

std::size_t size_of(std::span<const iovec> parts) {
  std::size_t size = 0;
  for (const iovec& part : parts) size += part.iov_len;
  return size;
}

std::string_view name_of(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::tcp4:
      return "TCP over IPv4";
    case SegmentKind::tcp6:
      return "TCP over IPv6";
    case SegmentKind::udp:
      return "UDP";
    case SegmentKind::none:
      break;
  }
  return "no";
}

}  // namespace

int FrameWriter::write(std::span<const Bytes> parts, const PacketOffload& left) {
  std::array<iovec, max_parts + 1> gathered;
  if (parts.size() > max_parts || parts.empty()) return EINVAL;
  std::ranges::transform(parts, gathered.begin() + 1, readable);
  const std::span packet{gathered.data() + 1, parts.size()};
  if (done_ != 0 || !takes_.covers(left)) return write_otherwise(packet, left);
  std::array<std::byte, max_framing> framing;
  const std::size_t framing_size = device_.capabilities().framing;
  if (!device_.emit_framing({framing.data(), framing_size}, parts.front(), left)) return EINVAL;
  gathered[0] = {framing.data(), framing_size};
  return note(device_.write_framed(std::span{gathered.data(), parts.size() + 1}), packet, left);
}

int FrameWriter::write_in_place(std::span<iovec> parts, const PacketOffload& left) {
  if (done_ != 0 || !takes_.covers(left)) return write_otherwise(parts, left);
  const iovec first = parts.front();
  const std::size_t framing = device_.capabilities().framing;
  auto* const begin = static_cast<std::byte*>(first.iov_base) - framing;
  if (!device_.emit_framing({begin, framing}, bytes_of(first), left)) return EINVAL;
  parts.front() = {begin, framing + first.iov_len};
  const int error =
      parts.size() == 1 ? device_.write_framed(bytes_of(parts.front())) : device_.write_framed(parts);
  parts.front() = first;
  return note(error, parts, left);
}

int FrameWriter::note(int error, std::span<const iovec> parts, const PacketOffload& left) {
  const std::size_t size = size_of(parts);
  TUNPORT_PROBE(write, size, error);
  if (error == 0) {
    statistics_.packets_out += datagrams_in(size, left);
    statistics_.bytes_out += size;
    if (left.is_super_packet()) ++statistics_.super_packets_out;
  } else if (error == EINVAL && left.is_super_packet()) {
    const std::uint64_t before = statistics_.packets_out;
    const std::size_t datagrams = datagrams_in(size, left);
    error = write_otherwise(parts, left);
    const bool few = left.kind != SegmentKind::udp || datagrams <= fewest_max_udp_segments;
    if (few && statistics_.packets_out - before == datagrams) demote(left.kind);
  }
  return error;
}

/// One datagram, again if a signal interrupts it.
int FrameWriter::write_single(Bytes datagram) {
  int error = device_.write(datagram);
  for (int tries = 0; error == EINTR && tries < interrupted_retries; ++tries) error = device_.write(datagram);
  TUNPORT_PROBE(write, datagram.size(), error);
  if (error == 0) {
    ++statistics_.packets_out;
    statistics_.bytes_out += datagram.size();
  }
  return error;
}

/// Each datagram by itself, those that are done with left out. Zero if any of them was taken; the others are
/// counted as dropped then. EINVAL if none came out: its headers are not what `left` says.
int FrameWriter::write_otherwise(std::span<const iovec> parts, const PacketOffload& left) {
  Scratch& scratch = assemble(parts);
  if (!left.is_super_packet()) {
    complete_checksum(scratch.packet, left);
    return write_single(scratch.packet);
  }
  Segmenter& segmenter = scratch.segmenter;
  segmenter.start(scratch.packet, left, device_.kind());
  for (std::size_t i = 0; i < done_; ++i) segmenter.next_payload();
  int first_error = 0;
  int error = 0;
  std::size_t taken = 0;
  std::size_t lost = 0;
  for (Bytes segment; !(segment = segmenter.next_in_place(ChecksumState::verified)).empty();) {
    error = write_single(segment);
    if (error == EAGAIN || error == EINTR) break;
    if (error == 0) {
      ++taken;
      continue;
    }
    ++lost;
    if (first_error == 0) first_error = error;
    if (error == EINVAL) continue;
    lost += segmenter.remaining();  // it would be no better for them
    break;
  }
  segmenter.reset();
  const bool waits = error == EAGAIN || error == EINTR;
  if (taken == 0 && !waits) return first_error != 0 ? first_error : EINVAL;
  if (lost != 0) count_drop(statistics_, drop_reason_of(first_error), lost);
  done_ = waits ? done_ + taken + lost : 0;
  return waits ? EAGAIN : 0;
}

FrameWriter::Scratch& FrameWriter::assemble(std::span<const iovec> parts) {
  if (!scratch_) scratch_ = std::make_unique<Scratch>();
  const std::size_t size = size_of(parts);
  if (scratch_->capacity < size) {
    scratch_->capacity = std::max(size, max_super_packet);
    scratch_->bytes = std::make_unique_for_overwrite<std::byte[]>(scratch_->capacity);
  }
  scratch_->packet = {scratch_->bytes.get(), size};
  std::byte* at = scratch_->bytes.get();
  for (const iovec& part : parts) {
    if (part.iov_len != 0) std::memcpy(at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  return *scratch_;
}

void FrameWriter::demote(SegmentKind kind) {
  if (kind == SegmentKind::tcp4) takes_.tso4 = false;
  if (kind == SegmentKind::tcp6) takes_.tso6 = false;
  if (kind == SegmentKind::udp) takes_.uso = false;
  log(LogLevel::warning, device_.name(),
      "the kernel refuses super-packets of " + std::string{name_of(kind)} +
          ": they are segmented from now on");
}

}  // namespace tunport
