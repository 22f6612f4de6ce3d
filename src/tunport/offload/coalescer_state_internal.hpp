#pragma once
/// The state of a `Coalescer`, explained in coalescer.cpp.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/uio.h>

#include "tunport/offload/coalescer_internal.hpp"
#include "tunport/offload/item_internal.hpp"

namespace tunport {

namespace coalescing {

/// The result of an attempt to join.
enum class Outcome : std::uint8_t { joined, other, full };

/// A stretch of an item's bytes.
struct Part {
  std::byte* data;
  std::uint32_t size;
  std::uint16_t next;
};

}  // namespace coalescing

struct Coalescer::State {
  using Item = coalescing::Item;
  using Flow = coalescing::Flow;
  using Part = coalescing::Part;
  using Outcome = coalescing::Outcome;
  static constexpr std::size_t pool_size = 1024;  // parts of all items together
  static constexpr std::size_t slot_count = 2 * max_items;

  State(DeviceKind device_kind, std::size_t capacity)
      : kind{device_kind},
        arena{std::make_unique_for_overwrite<std::byte[]>(capacity)},
        end{arena.get()},
        limit{end + capacity} {}

  std::size_t room() const { return static_cast<std::size_t>(limit - end); }
  void clear();

  bool add(Bytes datagram, const PacketOffload& left, Keep keep, const OffloadFeatures& device);
  [[gnu::noinline]] bool add_to_its_flow(Bytes datagram, const PacketOffload& left, Keep keep,
                                         const OffloadFeatures& device);
  bool begin(Bytes datagram, Flow flow, const PacketOffload& left, Keep keep, const OffloadFeatures& device,
             std::uint8_t* slot);
  template <bool v6, bool udp>
  bool join_next(Item& item, const std::byte* data);
  Outcome join(Item& item, Bytes datagram, const PacketOffload& left, Keep keep);
  template <bool v6, bool udp>
  Outcome join_as(Item& item, Bytes datagram, const PacketOffload& left, Keep keep);
  template <bool v6, bool udp>
  bool take_first(Item& item) const;

  std::byte* place(Item& item, std::size_t size);
  bool make_room(Item& item, std::size_t size, std::size_t there);
  void append_part(Item& item, const std::byte* data, std::size_t size);
  void settle(Item& item);
  void give_back(std::size_t but);

  std::uint8_t* slot_of(Bytes datagram, const Flow& flow);
  void close(Item& item) {
    item.open = false;
    open_items &= ~(std::uint64_t{1} << (&item - items.data()));
    if (latest == &item) latest = nullptr;
  }
  void close_between(const std::byte* network, bool v6);

  DeviceKind kind;
  std::unique_ptr<std::byte[]> arena;
  std::byte* end;          // end of the used bytes of the arena
  std::byte* const limit;  // end of the arena
  Item* tail = nullptr;    // the item with the last chunk
  Item* latest = nullptr;  // the open item begun or joined last
  std::size_t item_count = 0;
  std::size_t part_count = 0;
  std::uint64_t open_items = 0;                  // by index
  std::array<std::uint8_t, slot_count> slots{};  // 0, or 1 + an item's index
  std::array<Item, max_items> items{};
  std::array<Part, pool_size> parts{};
  std::array<iovec, max_parts> gathered{};  // the parts of the item being sent
};
static_assert(Coalescer::max_items <= 64, "open_items has 64 bits");

}  // namespace tunport
