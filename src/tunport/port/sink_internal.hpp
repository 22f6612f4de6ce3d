#pragma once
/// What an outbox writes to.

#include <concepts>
#include <optional>
#include <span>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/offload/coalescer.hpp"

namespace tunport {

/// One packet in parts. Borrowed for the call, unless gathered by reference.
struct Parts {
  std::span<const Bytes>
      bytes;                  ///< in order, at least one; at most `max_write_parts`, or what a sink gathered
  bool has_headroom = false;  ///< `max_framing` bytes before the first part may be overwritten
  Keep keep = Keep::copy;     ///< how the bytes may be gathered

  std::size_t size() const { return size_of(bytes); }
};

/// A way to the kernel: writes one packet, and knows its tag, which is all that a packet needs besides its
/// bytes (what is left to do on it; where it goes).
///
/// - `objection`: why a packet is refused, before anything is done with it.
/// - `gathers`: true if packets are better joined than sent one by one. `gather` takes one; false if it has
///   no room or the packet cannot be joined. `has_gathered`: some are held. `give` calls `call(tag, parts,
///   datagrams)` with each packet that was made of them, and holds none then.
/// - `write`: zero when the kernel has the packet, which is counted; else a positive errno. After EAGAIN the
///   sink may have given a part of the packet to the kernel: it goes on behind that part when it is given the
///   same packet again, before any other. `done` tells how many datagrams of it need no more writing;
///   `forget`: the packet is not given again.
/// - `datagrams`: how many datagrams a packet of `size` bytes is.
template <class S>
concept Sink = requires(S& sink, const S& same, const typename S::Tag& tag, const Parts& parts,
                        std::size_t size) {
  { same.objection(tag, parts) } -> std::same_as<std::optional<DropReason>>;
  { same.gathers() } -> std::same_as<bool>;
  { same.has_gathered() } -> std::same_as<bool>;
  { sink.gather(tag, parts) } -> std::same_as<bool>;
  { sink.write(tag, parts) } -> std::same_as<int>;
  { same.datagrams(tag, size) } -> std::same_as<std::size_t>;
  { same.done() } -> std::same_as<std::size_t>;
  {sink.forget()};
  {sink.give([](const typename S::Tag&, const Parts&, std::size_t) {})};
};

}  // namespace tunport
