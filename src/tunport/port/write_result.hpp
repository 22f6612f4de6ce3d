#pragma once
/// What became of a write.

#include <cstdint>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// The kernel has the datagram (`sent`), or a copy waits for it (`queued`), or it was dropped and counted
/// (`refused`, with the reason). Transient states never throw. What fails after it was queued is counted
/// then.
class WriteResult {
 public:
  enum Status : std::uint8_t { sent, queued, refused };

  static constexpr WriteResult make_sent() { return WriteResult{sent, {}}; }
  static constexpr WriteResult make_queued() { return WriteResult{queued, {}}; }
  static constexpr WriteResult make_refused(DropReason reason) { return WriteResult{refused, reason}; }

  constexpr Status status() const { return status_; }
  /// Why. Precondition: refused.
  constexpr DropReason reason() const { return reason_; }
  /// True unless refused.
  constexpr explicit operator bool() const { return status_ != refused; }
  constexpr bool operator==(const WriteResult&) const = default;

 private:
  constexpr WriteResult(Status status, DropReason reason) : status_{status}, reason_{reason} {}
  Status status_;
  DropReason reason_;
};

}  // namespace tunport
