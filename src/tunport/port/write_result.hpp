#pragma once
/// The outcome of a write.

#include <cstdint>
#include <iosfwd>
#include <string>

#include "tunport/base/drop_reason.hpp"

namespace tunport {

/// The kernel has the datagram (`sent`), or will have it later (`queued`: gathered or in the queue), or the
/// datagram was dropped and counted (`refused`, with the reason). Transient states never throw. A failure
/// after queueing is counted when it happens.
class WriteResult {
 public:
  /// The outcome without its reason.
  enum Status : std::uint8_t {
    sent,     ///< the kernel has the datagram
    queued,   ///< the kernel gets the datagram later: gathered, or in the queue
    refused,  ///< the datagram was dropped and counted
  };

  /// The outcome of a datagram that the kernel has.
  static constexpr WriteResult make_sent() { return WriteResult{sent, {}}; }
  /// The outcome of a datagram that waits.
  static constexpr WriteResult make_queued() { return WriteResult{queued, {}}; }
  /// The outcome of a datagram that was dropped for `reason`.
  static constexpr WriteResult make_refused(DropReason reason) { return WriteResult{refused, reason}; }
  /// The outcome of a datagram that the kernel refused with `error`, an errno.
  static constexpr WriteResult make_refused(DropReason reason, int error) {
    WriteResult result{refused, reason};
    result.error_ = static_cast<std::int16_t>(error);
    return result;
  }

  /// The status of the outcome.
  constexpr Status status() const { return status_; }
  /// The reason of a refusal. Precondition: refused.
  constexpr DropReason reason() const { return reason_; }
  /// True unless refused.
  constexpr explicit operator bool() const { return status_ != refused; }
  /// The errno of the kernel's refusal: EINVAL, EACCES, ENOBUFS, ...; 0 if the kernel was not asked.
  constexpr int error() const { return error_; }
  /// True for the same status and reason; the errno is a mere hint.
  constexpr bool operator==(const WriteResult& other) const {
    return status_ == other.status_ && reason_ == other.reason_;
  }

 private:
  constexpr WriteResult(Status status, DropReason reason) : status_{status}, reason_{reason} {}
  Status status_;
  DropReason reason_;
  std::int16_t error_ = 0;
};
/// "sent", "queued", or why not: "refused: link_down", "refused: kernel_refused (Permission denied)".
std::string to_string(const WriteResult& result);
/// Prints the text form.
std::ostream& operator<<(std::ostream& out, const WriteResult& result);

}  // namespace tunport
