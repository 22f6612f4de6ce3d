#pragma once
/// How datagrams get from an outbox into a UDP socket: gathered by receiver, many in one call.
///
/// Theory. Datagrams to one receiver that follow each other within a burst are copied into one run: of equal
/// size, a shorter last one closes the run. A run goes out in one sendmsg(2), and the kernel cuts it into its
/// datagrams (UDP_SEGMENT, linux/udp.h; at most 64, and 65,507 bytes). Runs go out in the order in which they
/// began, so that the order of the datagrams to one receiver is kept.
///
/// A run that the kernel refuses is sent again, datagram by datagram; nothing is lost. Three causes are told
/// apart. EINVAL or EMSGSIZE: a datagram with its headers is longer than the path's MTU, and must be
/// fragmented, which the kernel does for single datagrams only; from then on the sink gathers shorter
/// datagrams only. EIO, EOPNOTSUPP or ENOPROTOOPT: the device cannot (no checksum offload), or the kernel;
/// from then on nothing is gathered. EAGAIN in between: the sink goes on behind what the kernel has.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "tunport/base/unique_fd.hpp"
#include "tunport/device/io_system.hpp"
#include "tunport/port/sink_internal.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A sink of datagrams, each with its receiver. `socket`, `io` and `statistics` are borrowed.
class UdpSink {
 public:
  /// Where a datagram goes, or a run of them.
  struct Tag {
    Endpoint to;
    std::uint16_t segment_size = 0;  ///< of a run: bytes of each datagram but the last; 0: a single datagram
  };

  /// `max_packet_size`: of a datagram's payload, in bytes. `name`: what log lines begin with.
  UdpSink(const UniqueFd& socket, IoSystem& io, bool v4, Statistics& statistics, std::size_t max_packet_size,
          const std::string& name)
      : socket_{socket},
        io_{io},
        v4_{v4},
        statistics_{statistics},
        max_packet_size_{max_packet_size},
        name_{name} {}

  /// The socket was opened: begins anew, with runs if the kernel `segments` them.
  void reset(bool segments);

  /// As `Sink` has them. A datagram is refused as `too_long`, or `no_route` for an address of the other
  /// family.
  std::optional<DropReason> objection(const Tag& tag, const Parts& parts) const;
  bool gathers() const { return segments_; }
  bool has_gathered() const { return run_count_ != 0; }
  bool gather(const Tag& tag, const Parts& parts);
  template <class Call>
  void give(Call call) {
    for (std::size_t i = 0; i < run_count_; ++i) {
      const Run& run = runs_[i];
      const Bytes bytes{run.bytes.get(), run.size};
      const auto segment = static_cast<std::uint16_t>(run.datagrams > 1 ? run.segment_size : 0);
      call(Tag{run.to, segment}, Parts{.bytes = {&bytes, 1}}, run.datagrams);
    }
    run_count_ = 0;
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

  /// Datagrams to one receiver. The memory is allocated with the first use of its place.
  struct Run {
    Endpoint to;
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::size_t segment_size = 0;
    std::size_t datagrams = 0;
    bool open = false;
  };

  Run* open_run_of(const Endpoint& to);
  int send(const Endpoint& to, std::span<const Bytes> parts, std::uint16_t segment_size);
  int write_one_by_one(const Tag& tag, Bytes run);
  void demote(int error, std::uint16_t segment_size);

  const UniqueFd& socket_;
  IoSystem& io_;
  bool v4_;
  Statistics& statistics_;
  std::size_t max_packet_size_;
  const std::string& name_;
  bool segments_ = false;
  std::size_t longest_segment_ = max_run_size;
  std::array<Run, max_runs> runs_;
  std::size_t run_count_ = 0;
  std::size_t done_ = 0;
};
static_assert(Sink<UdpSink>);

}  // namespace tunport
