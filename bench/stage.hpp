#pragma once
/// The place of measurements: a private network namespace with a TUN, processes on fixed cores, shared
/// memory.
///
/// Theory. The measured code runs in a process forked for each measurement, pinned to the first core. The
/// peer (a sender or a client) runs in a second process, pinned to the second core. The measured process
/// opens the device, and the device goes with the process. The parent sleeps, reads the counters in the
/// shared page before and after the window, and compares them with the kernel's: a run that did less than its
/// counters say counts for nothing. Children die with the parent, and the namespace with the children: an
/// interrupt leaves nothing behind.

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tunport/base/bytes.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/wire/address.hpp"

#include "bare_loop.h"

namespace tunport::bench {

inline constexpr char interface_name[] = "bench0";
inline constexpr char other_interface_name[] = "bench1";  ///< the interface in the second namespace
inline constexpr Ipv4Address kernel_address{0x0a4e0001};
inline constexpr Ipv4Address our_address{0x0a4e0002};
/// The most stray packets in a measurement: IPv6 sends packets at an interface's start, where IPv6 cannot be
/// switched off.
inline constexpr std::uint64_t strangers = 16;

/// Moves the program into a new network namespace (as root), or into a new user and network namespace, with
/// loopback up. Throws std::system_error. Precondition: the program has no threads.
void enter_namespace();
/// Makes a further network namespace, with loopback up. The namespace lasts as long as the descriptor. Throws
/// std::system_error or `Error`.
UniqueFd make_namespace();
/// Gives an interface its address, and brings the interface up. Throws `Error`.
void configure_interface(const char* name = interface_name, Ipv4Address address = kernel_address);
/// Keeps super-packets out of the device: the kernel segments them right before. Throws.
void refuse_super_packets();

/// The kernel's counters of the TUN (/proc/self/net/dev).
struct LinkCounters {
  std::uint64_t read = 0;     ///< packets read from the descriptor
  std::uint64_t dropped = 0;  ///< packets dropped by a full ring
};
/// The counters now. Throws std::runtime_error without the interface.
LinkCounters link_counters();
/// The counters after `sent` packets were read or dropped, or after 3 seconds.
LinkCounters link_counters_after(std::uint64_t sent);
/// A counter of the namespace (/proc/self/net/snmp): `("Udp", "RcvbufErrors")`. Throws std::runtime_error
/// without the counter.
std::uint64_t snmp_counter(const std::string& protocol, const std::string& field);

/// Runs a command to its end, in the caller's namespace and on the caller's core, with its output to `out`.
/// Throws unless the status is 0.
void run_command(const std::vector<std::string>& words, int out);
/// True if the command runs.
bool has_command(const std::string& name);

/// The shared memory of a measurement's processes.
struct Page {
  alignas(64) Tally tally;                    ///< work of the measured process
  alignas(64) std::uint32_t stop;             ///< not 0: the peer, or a writer, ends
  alignas(64) std::uint64_t sent;             ///< packets sent by the peer
  std::uint64_t segments;                     ///< datagrams in each super-packet of the peer
  int peer_error;                             ///< errno that ended the peer, or 0
  std::uint64_t refused;                      ///< drops and exceptions of the measured ports
  alignas(64) std::array<double, 4> figures;  ///< figures taken by a child
};

/// The page of a measurement, and the descriptor that ends the measured process.
class Stage {
 public:
  Stage();
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  Page& page() const { return *page_; }
  /// A descriptor, readable from `stop_measured` on.
  int stop_fd() const { return stop_fd_.get(); }
  /// Ends the peer, by `page().stop`.
  void stop_peer() const;
  /// Ends the measured process, by `stop_fd()`.
  void stop_measured() const;
  /// The packets of the tally now.
  std::uint64_t packets() const;

 private:
  Page* page_;
  UniqueFd stop_fd_;
};

/// The two cores, fixed for the program.
enum class Core : std::uint8_t { measured, peer, both };

/// A forked process, killed at the end of the object.
class Child {
 public:
  using Body = std::function<void(const std::function<void()>& ready)>;

  /// Runs `body` in a new process on `core`. `body` calls `ready` after its setup. The text of an exception
  /// goes to stderr.
  Child(Core core, const Body& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  /// Waits until the process is ready. Throws after `longest`, and for a process that ended before.
  void wait_ready(std::chrono::milliseconds longest = std::chrono::seconds{5}) const;
  /// The CPU time of the process, in seconds. Throws after the end of the process.
  double cpu_time() const;
  /// Waits for the end of the process. Throws for a failure, and after `longest` without the end.
  void join(std::chrono::milliseconds longest = std::chrono::seconds{5});

 private:
  pid_t pid_ = -1;
  UniqueFd ready_;
};

/// The rate in a window, by the clock and by the CPU time of the measured process.
struct Rate {
  double packets_per_second = 0;
  double cpu_seconds_per_packet = 0;
};
/// Sleeps through a warm-up and a window of `seconds`, and returns the rate in the window.
Rate observe(const Stage& stage, const Child& measured, double seconds);

void sleep_for(double seconds);
/// The monotonic time, in seconds.
double now();
/// Throws std::runtime_error with `what` unless `so`.
void require(bool so, const char* what);

}  // namespace tunport::bench
