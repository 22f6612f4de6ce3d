#pragma once
/// The connections of a gate: found by the client's view, and by the port that stands for them.
///
/// Theory. A flow has two names. The client's packets carry its ends: the client's address and port, and the
/// destination that the client means. The kernel's own socket sees the destination's address with a port of
/// the table instead, which is the flow's alone: answers are found by that port. Ports are taken in a circle
/// of 64,512, so a port returns as late as possible.
///
/// Each flow is in one list at a time, by its state; the list is in the order of the last packets, to the
/// second: a packet within the same second moves nothing. So the oldest of a state is found at once, for
/// timeouts and to make room.

#include <array>
#include <cstdint>
#include <vector>

#include "tunport/offload/rewrite.hpp"
#include "tunport/port/owned_packet.hpp"

namespace tunport {

/// The state of a flow, and its list.
enum class FlowState : std::uint8_t {
  held,       ///< the SYN is kept until the program decides
  opening,    ///< the SYN has gone to the kernel; the connection is not accepted yet
  open,       ///< accepted
  closing,    ///< both directions have ended, or a reset was seen; acknowledgments may still come
  lingering,  ///< ended; the last packets may come again
  waiting,    ///< ended, and the kernel's socket is in TIME_WAIT
};
inline constexpr std::size_t flow_states = 6;

/// A connection through a gate.
struct Flow {
  FlowEnds ends;                      ///< the client's view: the source is the client
  std::uint16_t port = 0;             ///< stands for the client at the kernel's socket
  FlowState state = FlowState::held;  ///< set by `FlowTable::move`
  bool client_fin = false;            ///< the client has sent FIN
  bool server_fin = false;            ///< the kernel's socket has sent FIN
  bool client_fin_acked = false;
  bool server_fin_acked = false;
  bool server_closed_first = false;  ///< the kernel's socket ends in TIME_WAIT
  std::uint32_t client_fin_end = 0;  ///< the sequence number behind the FIN
  std::uint32_t server_fin_end = 0;  ///< ditto
  std::uint32_t first_seen = 0;      ///< in seconds of the table's clock
  std::uint32_t last_seen = 0;       ///< ditto
  std::uint32_t generation = 0;      ///< tells the flows of a place apart
  OwnedPacket syn;                   ///< of a held flow

 private:
  friend class FlowTable;
  std::uint32_t chain_ = UINT32_MAX;  // the next flow of the bucket, or the next free place
  std::uint32_t newer_ = UINT32_MAX;
  std::uint32_t older_ = UINT32_MAX;
};

/// A flow's name for others: a place, and its generation.
struct FlowId {
  std::uint32_t place = UINT32_MAX;
  std::uint32_t generation = 0;
  bool operator==(const FlowId&) const = default;
};

/// See the theory above. References to flows are valid until the next `add`.
class FlowTable {
 public:
  static constexpr std::uint16_t first_port = 1024;  ///< the least port that stands for a client
  static constexpr std::uint32_t none = UINT32_MAX;

  /// `seed` makes the order of buckets unknown to outsiders. `most`: flows of all states, at most 64,512.
  FlowTable(std::size_t most, std::uint64_t seed);

  /// The place of the flow with these ends; `none` for unknown ends.
  std::uint32_t find(const FlowEnds& ends) const;
  /// The place of the flow with this port; `none` without a flow.
  std::uint32_t find_port(std::uint16_t port) const { return ports_.empty() ? none : ports_[port]; }
  /// The place of a named flow; `none` if that has gone.
  std::uint32_t find_id(const FlowId& id) const {
    return id.place < flows_.size() && flows_[id.place].generation == id.generation ? id.place : none;
  }
  /// The name of the flow at a place.
  FlowId id_of(std::uint32_t place) const { return {place, flows_[place].generation}; }
  Flow& operator[](std::uint32_t place) { return flows_[place]; }
  const Flow& operator[](std::uint32_t place) const { return flows_[place]; }

  /// Adds a held flow, with a port. `none` for a full table. Precondition: the ends are unknown. Throws
  /// std::bad_alloc, and nothing is changed.
  std::uint32_t add(const FlowEnds& ends, std::uint32_t now);
  /// Removes the flow at a place.
  void remove(std::uint32_t place);
  /// Makes the flow at a place a new, held flow with the same ends and port, under a new name.
  void renew(std::uint32_t place, std::uint32_t now);
  /// Moves a flow to the end of a state's list.
  void move(std::uint32_t place, FlowState state, std::uint32_t now);
  /// Notes a packet of the flow.
  void touch(std::uint32_t place, std::uint32_t now) {
    if (flows_[place].last_seen != now) move(place, flows_[place].state, now);
  }

  /// The flow of a state that was quiet for the longest time; `none` without a flow.
  std::uint32_t oldest(FlowState state) const { return lists_[index(state)].oldest; }
  /// The next after `place` in its list, younger.
  std::uint32_t younger(std::uint32_t place) const { return flows_[place].newer_; }
  /// The number of flows in a state.
  std::size_t count(FlowState state) const { return lists_[index(state)].count; }
  /// The number of flows.
  std::size_t size() const { return size_; }

 private:
  struct List {
    std::uint32_t newest = none;
    std::uint32_t oldest = none;
    std::size_t count = 0;
  };

  static std::size_t index(FlowState state) { return static_cast<std::size_t>(state); }
  std::uint32_t& bucket_of(const FlowEnds& ends);
  std::size_t spread(const FlowEnds& ends) const;
  std::uint16_t take_port(std::uint32_t place);
  void link(std::uint32_t place, FlowState state, std::uint32_t now);
  void unlink(std::uint32_t place);

  std::size_t most_;
  std::uint64_t seed_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> buckets_;  // a power of two
  std::vector<std::uint32_t> ports_;    // the flow of each port
  std::array<List, flow_states> lists_;
  std::uint32_t free_ = none;
  std::uint32_t generations_ = 0;
  std::size_t size_ = 0;
  std::uint16_t next_port_ = first_port;
};

}  // namespace tunport
