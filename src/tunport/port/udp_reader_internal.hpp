#pragma once
/// The reading end of a UDP socket: one datagram or run in a call, or several short datagrams.
///
/// Theory. Runs (UDP_GRO) and long datagrams are read one by one to one place, which stays in the cache.
/// After some short datagrams in a row, up to `most` are read in one call (recvmmsg(2)). Each has a short
/// place, close to the others', and long memory for the bytes beyond, so that a run loses nothing: its
/// beginning is copied before its rest, and the reader goes back to single reads.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/socket.h>

#include "tunport/base/bytes.hpp"
#include "tunport/device/io_system.hpp"

namespace tunport {

/// See the theory above.
class UdpReader {
 public:
  /// The most datagrams, or runs, of one call.
  static constexpr std::size_t most = 8;

  /// `longest`: the longest datagram or run, in bytes, at least 2049; longer ones are truncated.
  explicit UdpReader(std::size_t longest);

  /// Reads up to `limit` datagrams, at least 1. Returns the number read, or a negated errno. The datagrams
  /// stay until the next call.
  int read(IoSystem& io, int fd, std::size_t limit);
  /// True if the last call asked for more datagrams than the socket had.
  bool drained() const { return drained_; }

  /// The bytes of a datagram of the last call.
  MutableBytes bytes(std::size_t index) const { return bytes_[index]; }
  /// The name, the flags and the control messages of a datagram of the last call.
  msghdr& message(std::size_t index) { return messages_[index].msg_hdr; }

 private:
  static constexpr std::size_t short_size = 2048;
  static constexpr std::size_t shorts_before_many = 4;
  using Control = std::array<std::byte, 256>;

  std::byte* long_place(std::size_t index) const { return long_[index].get(); }
  int read_one(IoSystem& io, int fd);
  int read_many(IoSystem& io, int fd, std::size_t limit);
  bool have_memory_for_many();
  void reset(std::size_t index);
  void note(std::size_t size);

  std::size_t longest_;
  std::size_t shorts_ = 0;  // short datagrams in a row
  bool drained_ = false;
  std::array<std::unique_ptr<std::byte[]>, most> long_;  // `longest_` bytes each
  std::unique_ptr<std::byte[]> short_;                   // `most` places of `short_size` bytes
  std::array<MutableBytes, most> bytes_;
  std::array<mmsghdr, most> messages_{};
  std::array<std::array<iovec, 2>, most> parts_{};
  std::array<sockaddr_storage, most> sources_{};
  alignas(cmsghdr) std::array<Control, most> controls_{};
};

}  // namespace tunport
