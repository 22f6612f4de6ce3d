#pragma once
/// The writing end of an outbox.

#include <concepts>
#include <optional>
#include <span>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/offload/coalescer_internal.hpp"

namespace tunport {

/// One packet in parts. Borrowed for the call, unless gathered by reference.
struct Parts {
  std::span<const Bytes>
      bytes;                  ///< in order, at least one; at most `max_write_parts`, or a gathered packet's
  bool has_headroom = false;  ///< `max_framing` bytes before the first part may be overwritten
  Keep keep = Keep::copy;     ///< the permitted way to gather the bytes

  /// The bytes of the packet.
  std::size_t size() const { return size_of(bytes); }
};

/// A way to the kernel: writes one packet with its tag. The tag holds everything about a packet besides the
/// bytes (the work left to do; the destination).
///
/// - `objection`: the reason for refusing a packet at once, or nothing.
/// - `gathers`: true if packets are better joined than sent one by one.
/// - `gather`: takes a packet. False without room, or if the packet cannot be joined.
/// - `has_gathered`: true while packets are held.
/// - `give`: calls `call(tag, parts, datagrams)` with each packet made of the held packets, and empties the
///   sink. While `ready`, the sink may write packets without a call.
/// - `write`: zero when the kernel has the packet, which is counted; else a positive errno. After EAGAIN the
///   kernel may have a part of the packet; the next `write` must repeat the same packet, and goes on behind
///   that part.
/// - `done`: the datagrams of such a packet that need no more writing.
/// - `forget`: such a packet is not repeated.
/// - `datagrams`: the number of datagrams in a packet of `size` bytes.
template <class S>
concept Sink = requires(S& sink, const S& same, const typename S::Tag& tag, const Parts& parts,
                        std::size_t size, const bool& ready) {
  { same.objection(tag, parts) } -> std::same_as<std::optional<DropReason>>;
  { same.gathers() } -> std::same_as<bool>;
  { same.has_gathered() } -> std::same_as<bool>;
  { sink.gather(tag, parts) } -> std::same_as<bool>;
  { sink.write(tag, parts) } -> std::same_as<int>;
  { same.datagrams(tag, size) } -> std::same_as<std::size_t>;
  { same.done() } -> std::same_as<std::size_t>;
  {sink.forget()};
  {sink.give(ready, [](const typename S::Tag&, const Parts&, std::size_t) {})};
};

}  // namespace tunport
