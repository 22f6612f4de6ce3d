#pragma once
/// Planned failures over any system, fake or kernel: "the nth call fails with the error e".
///
/// ```
/// MemorySystem kernel;
/// FaultPlan plan{kernel};
/// plan.fail(SystemCall::ioctl, 2, errno_code(EBUSY));
/// TuntapPort port{clock, "tap0", protocol, {.system = plan}};
/// ```
/// A walk runs a scenario once without failures, to count the calls, and then once for each call and each of
/// its documented errors (`FaultPlan::errors_of`).

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>

#include "tunport/device/system.hpp"

namespace tunport {

/// Every call of `IoSystem` and of `LinkSystem`, in their order. `add_address` is for both forms, as is
/// `addresses`.
enum class SystemCall : std::uint8_t {
  open,
  access,
  ioctl,
  ioctl_value,
  read,
  readv,
  write,
  writev,
  get_flags,
  set_flags,
  socket,
  bind,
  connect,
  getsockname,
  getsockopt,
  setsockopt,
  recvmsg,
  sendmsg,
  recvmmsg,
  sendmmsg,
  list,
  find,
  set_up,
  set_mtu,
  set_mac,
  set_tx_queue_length,
  add_address,
  remove_address,
  addresses,
  add_route,
  remove_route,
  routes,
  move_to_namespace,
  remove,
  in_namespace_of,
  around,
  monitor,
  inside,
};
/// The number of calls.
inline constexpr std::size_t system_calls = static_cast<std::size_t>(SystemCall::inside) + 1;
/// "setsockopt".
std::string_view to_string(SystemCall call);

/// See above. A failing call is not made. For a single thread; outlives devices and ports.
class FaultPlan {
 public:
  /// A plan without failures over `inner`, which is borrowed.
  explicit FaultPlan(System inner);
  ~FaultPlan();
  FaultPlan(const FaultPlan&) = delete;
  FaultPlan& operator=(const FaultPlan&) = delete;

  /// The system with the planned failures. Borrows the plan.
  operator System();  // NOLINT(google-explicit-constructor)

  /// The `nth` call from now, counted from 1, fails with `error`, and so do the next `times - 1`. A call of
  /// `IoSystem` fails with the errno `error.value()`.
  void fail(SystemCall call, std::uint64_t nth, std::error_code error, std::uint64_t times = 1);
  /// Each call fails with a probability of one in `one_in`, with one of its documented errors; the same
  /// `seed` gives the same failures. 0: an end of random failures.
  void fail_randomly(std::uint64_t seed, std::uint32_t one_in);
  /// Forgets all failures, and the counts.
  void clear();

  /// The number of calls since `clear`.
  std::uint64_t calls(SystemCall call) const;
  /// The number of calls that failed by this plan since `clear`.
  std::uint64_t failures() const;
  /// The errors that the call is documented to fail with, in man pages and in drivers/net/tun.c.
  static std::span<const std::error_code> errors_of(SystemCall call);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tunport
