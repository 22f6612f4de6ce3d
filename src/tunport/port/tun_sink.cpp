#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "tunport/base/log.hpp"
#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/tun_sink_internal.hpp"

namespace tunport {
namespace {

/// UDP_MAX_SEGMENTS before Linux 6.9: a kernel may refuse a packet of more segments for the number alone. TCP
/// has no such bound.
constexpr std::size_t fewest_max_udp_segments = 64;

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

void TunSink::reset() {
  takes_ = device_.capabilities().offload;
  coalescer_.reset();
  if (takes_.tso4 || takes_.tso6 || takes_.uso) coalescer_.emplace(kind_);
  forget();
}

int TunSink::write_framed(const PacketOffload& left, const Parts& parts) {
  if (done_ != 0 || !takes_.covers(left)) return write_in_segments(left, parts);
  const int error = note(send_framed(left, parts), left, parts.size());
  if (error != EINVAL || !left.is_super_packet()) return error;
  ++statistics_.super_packets_refused;
  const std::uint64_t before = statistics_.packets_out;
  const std::size_t datagrams = datagrams_in(parts.size(), left);
  const int otherwise = write_in_segments(left, parts);
  const bool few = left.kind != SegmentKind::udp || datagrams <= fewest_max_udp_segments;
  if (few && statistics_.packets_out - before == datagrams) demote(left.kind);
  return otherwise;
}

/// Makes one system call: with the framing right before the packet where memory has room, else gathered.
int TunSink::send_framed(const PacketOffload& left, const Parts& parts) {
  const std::size_t framing = device_.capabilities().framing;
  const Bytes first = parts.bytes.front();
  std::array<std::byte, max_framing> apart;
  std::byte* const begin = parts.has_headroom ? const_cast<std::byte*>(first.data()) - framing : apart.data();
  if (!device_.emit_framing({begin, framing}, first, left)) return EINVAL;
  if (parts.has_headroom && parts.bytes.size() == 1)
    return device_.write_framed(Bytes{begin, framing + first.size()});
  std::array<iovec, Coalescer::max_parts + 1> gathered;
  std::size_t count = 0;
  gathered[count++] = {begin, parts.has_headroom ? framing + first.size() : framing};
  for (const Bytes part : parts.has_headroom ? parts.bytes.subspan(1) : parts.bytes)
    gathered[count++] = {const_cast<std::byte*>(part.data()), part.size()};
  return device_.write_framed(std::span<const iovec>{gathered.data(), count});
}

int TunSink::write_single(Bytes datagram) { return note(device_.write(datagram), {}, datagram.size()); }

/// Writes each datagram by itself, except those done. Returns zero if the kernel took a datagram; refused
/// ones are counted as dropped then. Returns EINVAL if the packet has no segments: the headers contradict
/// `left`.
int TunSink::write_in_segments(const PacketOffload& left, const Parts& parts) {
  Scratch* const assembled = assemble(parts);
  if (assembled == nullptr) return ENOMEM;
  Scratch& scratch = *assembled;
  if (!left.is_super_packet()) {
    complete_checksum(scratch.packet, left);
    return write_single(scratch.packet);
  }
  Segmenter& segmenter = scratch.segmenter;
  segmenter.start(scratch.packet, left, kind_);
  for (std::size_t i = 0; i < done_; ++i) segmenter.next_payload();
  int first_error = 0;
  bool waits = false;
  std::size_t taken = 0;
  std::size_t lost = 0;
  for (Bytes segment; !(segment = segmenter.next_in_place(ChecksumState::verified)).empty();) {
    const int error = write_single(segment);
    if (error == 0) {
      ++taken;
      continue;
    }
    waits = fate_of(error).kind == Fate::wait;
    if (waits) break;
    ++lost;
    if (first_error == 0) first_error = error;
    if (error == EINVAL) continue;
    lost += segmenter.remaining();  // the rest would meet the same error
    break;
  }
  segmenter.reset();
  if (taken == 0 && !waits) return first_error != 0 ? first_error : EINVAL;
  if (lost != 0) count_drop(statistics_, fate_of(first_error).reason, lost);
  done_ = waits ? done_ + taken + lost : 0;
  return waits ? EAGAIN : 0;
}

/// Null without memory.
TunSink::Scratch* TunSink::assemble(const Parts& parts) try {
  if (!scratch_) scratch_ = std::make_unique<Scratch>();
  const std::size_t size = parts.size();
  if (scratch_->capacity < size) {
    const std::size_t capacity = std::max(size, max_super_packet);
    scratch_->bytes = std::make_unique_for_overwrite<std::byte[]>(capacity);
    scratch_->capacity = capacity;
  }
  scratch_->packet = {scratch_->bytes.get(), size};
  std::byte* at = scratch_->bytes.get();
  for (const Bytes part : parts.bytes) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  return scratch_.get();
} catch (const std::bad_alloc&) {
  return nullptr;
}

void TunSink::demote(SegmentKind kind) {
  if (kind == SegmentKind::tcp4) takes_.tso4 = false;
  if (kind == SegmentKind::tcp6) takes_.tso6 = false;
  if (kind == SegmentKind::udp) takes_.uso = false;
  log(LogLevel::warning, device_.name(),
      "the kernel refuses super-packets of " + std::string{name_of(kind)} +
          ": they are segmented from now on");
}

}  // namespace tunport
