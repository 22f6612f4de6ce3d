#pragma once
/// The way of datagrams from an outbox into a UDP socket: gathered by receiver, many in one call.
///
/// Theory. Successive datagrams to one receiver within a burst are copied into one run, with equal sizes; a
/// shorter datagram closes the run. Runs are sent together (sendmmsg(2)), or a run by one sendmsg(2), and the
/// kernel cuts it into its datagrams (UDP_SEGMENT, linux/udp.h; at most 64, and 65,507 bytes). Runs are sent
/// in the order in which they began, to keep the order of datagrams to each receiver.
///
/// A refused run is sent again, datagram by datagram; nothing is lost. Three causes are told apart. EINVAL or
/// EMSGSIZE: a datagram with its headers is longer than the path's MTU and needs fragmenting, which the
/// kernel does for single datagrams only; from then on the sink gathers only shorter datagrams, and tries a
/// longer run after some thousand longer datagrams. EIO, EOPNOTSUPP or ENOPROTOOPT: the device (without
/// checksum offload) or the kernel does not support runs; from then on nothing is gathered. EAGAIN in
/// between: the sink goes on behind the last datagram that the kernel has.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tunport/base/unique_fd.hpp"
#include "tunport/device/io_system.hpp"
#include "tunport/port/sink_internal.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A sink of datagrams, each with its receiver. `socket`, `io` and `statistics` are borrowed.
class UdpSink {
 public:
  /// The destination of a datagram, or of a run.
  struct Tag {
    Endpoint to;
    std::uint16_t segment_size = 0;   ///< bytes of each datagram in a run but the last; 0: a single datagram
    IpAddress from = {};              ///< the source; 0.0.0.0: the kernel's choice
    std::int16_t traffic_class = -1;  ///< DSCP and ECN; -1: the socket's

    /// True if both go the same way: a run holds datagrams of one way.
    bool same_way(const Tag& other) const {
      return to == other.to && from == other.from && traffic_class == other.traffic_class;
    }
  };

  /// `max_packet_size` limits a datagram's payload, in bytes. `name` begins log lines, and is borrowed.
  UdpSink(const UniqueFd& socket, IoSystem& io, bool v4, Statistics& statistics, std::size_t max_packet_size,
          const std::string& name)
      : socket_{socket},
        io_{io},
        v4_{v4},
        statistics_{statistics},
        max_packet_size_{max_packet_size},
        name_{name} {}

  /// Begins anew, for a socket that was just opened; `segments`: the kernel cuts runs; `peer`: the socket is
  /// connected to that endpoint.
  void reset(bool segments, const std::optional<Endpoint>& peer = {});

  /// As `Sink` has it. A datagram is refused as `too_long`, or `no_route` for an address of the other family.
  std::optional<DropReason> objection(const Tag& tag, const Parts& parts) const;
  bool gathers() const { return segments_; }
  bool has_gathered() const { return run_count_ != 0; }
  bool gather(const Tag& tag, const Parts& parts);
  /// Space for a datagram of `size` bytes, at least 1, to be made where it is gathered; empty if the datagram
  /// cannot be gathered. `keep(size)` follows, or nothing.
  MutableBytes place_for(const Tag& tag, std::size_t size);
  /// Keeps the datagram that was made in the last `place_for`. False if the sink was used in between.
  bool keep(std::size_t size);
  template <class Call>
  void give(const bool& ready, Call call) {
    for (std::size_t i = 0; i < run_count_; ++i) {
      if (ready) i += write_many({runs_.data() + i, run_count_ - i});
      if (i == run_count_) break;
      const Run& run = runs_[i];
      const Bytes bytes{run.bytes.get(), run.size};
      call(run.tag(), Parts{.bytes = {&bytes, 1}}, run.datagrams);
    }
    run_count_ = 0;
    filling_ = nullptr;
  }
  int write(const Tag& tag, const Parts& parts);
  std::size_t datagrams(const Tag& tag, std::size_t size) const {
    return tag.segment_size == 0 ? 1 : (size + tag.segment_size - 1) / tag.segment_size;
  }
  std::size_t done() const { return done_; }
  void forget() { done_ = 0; }

 private:
  static constexpr std::size_t max_runs = 16;
  static constexpr std::size_t max_segments = 64;      // UDP_MAX_SEGMENTS before Linux 6.9
  static constexpr std::size_t max_run_size = 65'507;  // of payload in an IPv4 packet
  static constexpr std::size_t longer_per_trial = 4096;

  /// A run to one receiver. The memory is allocated at the first use of its place.
  struct Run {
    Tag way;
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::size_t segment_size = 0;
    std::size_t datagrams = 0;
    bool open = false;

    Tag tag() const {
      return {way.to, static_cast<std::uint16_t>(datagrams > 1 ? segment_size : 0), way.from,
              way.traffic_class};
    }
  };

  Run* open_run_of(const Tag& tag);
  Run* run_for(const Tag& tag, std::size_t size);
  bool fits_path(std::size_t size);
  void took(Run& run, std::size_t size);
  int send(const Tag& tag, std::span<const Bytes> parts);
  std::size_t write_many(std::span<const Run> runs);
  void count(const Tag& tag, std::size_t size);
  int write_one_by_one(const Tag& tag, Bytes run);
  void demote(int error, std::uint16_t segment_size);

  const UniqueFd& socket_;
  IoSystem& io_;
  bool v4_;
  Statistics& statistics_;
  std::size_t max_packet_size_;
  const std::string& name_;
  bool segments_ = false;
  std::optional<Endpoint> peer_;  // a send without a receiver costs no search for a route
  std::size_t longest_segment_ = max_run_size;
  std::size_t longer_ = 0;  // datagrams longer than that since the last trial
  bool said_ = false;       // one log line
  std::array<Run, max_runs> runs_;
  std::size_t run_count_ = 0;
  Run* filling_ = nullptr;  // the run of the last `place_for`
  std::size_t done_ = 0;
};
static_assert(Sink<UdpSink>);

}  // namespace tunport
