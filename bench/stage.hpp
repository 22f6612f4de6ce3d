#pragma once
/// Where measurements take place: a network namespace of the program's own, a TUN in it, processes on fixed
/// cores, memory that they share.
///
/// Theory. Whatever is measured runs in a process of its own, forked afresh for each measurement, pinned to
/// one core; who sends to it, or asks it, runs in another, pinned to the other core. The device is opened by
/// what is measured and goes with its process. The parent sleeps, looks at the counters in the shared page
/// before and after its window, and checks them afterwards against the kernel's, so a run that did less than
/// it claims counts for nothing. Children die with the parent, whatever ends it, and the namespace with them:
/// an interrupt leaves nothing behind.

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
inline constexpr char other_interface_name[] = "bench1";  ///< what is in the other namespace
inline constexpr Ipv4Address kernel_address{0x0a4e0001};
inline constexpr Ipv4Address our_address{0x0a4e0002};
/// What else may pass in a measurement: what IPv6 says at an interface's start, where it cannot be switched
/// off.
inline constexpr std::uint64_t strangers = 16;

/// Moves the program into a network namespace of its own (as root), or a user and network namespace, with
/// loopback up. Throws std::system_error. Call it first: it fails once there are threads.
void enter_namespace();
/// A further network namespace, with loopback up, which lasts as long as the descriptor. Throws.
UniqueFd make_namespace();
/// Gives an interface its address and brings it up. Throws Error.
void configure_interface(const char* name = interface_name, Ipv4Address address = kernel_address);
/// Lets no super-packet into the device: the kernel cuts them apart right before. Throws.
void refuse_super_packets();

/// What the kernel counted on the TUN (/proc/self/net/dev).
struct LinkCounters {
  std::uint64_t read = 0;     ///< packets that the descriptor's owner read
  std::uint64_t dropped = 0;  ///< packets that waited for it in vain
};
LinkCounters link_counters();
/// Waits, but not for long, until so many packets sent were read or dropped, and then for the last to be
/// counted.
LinkCounters link_counters_after(std::uint64_t sent);
/// One of the namespace's counters (/proc/self/net/snmp): `("Udp", "RcvbufErrors")`. Throws if there is none
/// such.
std::uint64_t snmp_counter(const std::string& protocol, const std::string& field);

/// Runs a command, its output to `out`, in the calling process's place, namespace and core; ends with it.
/// Throws unless it ended well.
void run_command(const std::vector<std::string>& words, int out);
/// True if the command is there to be run.
bool has_command(const std::string& name);

/// What the processes of one measurement share.
struct Page {
  alignas(64) Tally tally;                    ///< of what is measured
  alignas(64) std::uint32_t stop;             ///< not 0: the peer, or a writer, ends
  alignas(64) std::uint64_t sent;             ///< packets that the peer sent
  std::uint64_t segments;                     ///< of each super-packet that it sent
  int peer_error;                             ///< errno of a peer that could not go on
  std::uint64_t refused;                      ///< packets that what is measured dropped, and exceptions
  alignas(64) std::array<double, 4> figures;  ///< of measurements that are not the parent's to take
};

/// One measurement's page, and the descriptor whose readability ends what is measured.
class Stage {
 public:
  Stage();
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  Page& page() const { return *page_; }
  int stop_fd() const { return stop_fd_.get(); }
  /// Ends the peer (`page().stop`), and what is measured (`stop_fd()`).
  void stop_peer() const;
  void stop_measured() const;
  std::uint64_t packets() const;

 private:
  Page* page_;
  UniqueFd stop_fd_;
};

/// The two cores, fixed for the program.
enum class Core : std::uint8_t { measured, peer, both };

/// A forked process. Ends with this object: killed, if it has not ended by itself.
class Child {
 public:
  using Body = std::function<void(const std::function<void()>& ready)>;

  /// Runs `body` in a new process on that core; `body` calls `ready` once it is set up. What it throws goes
  /// to stderr.
  Child(Core core, const Body& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Waits until it is ready, or has ended by itself. Throws if it did not get so far.
  void wait_ready() const;
  /// Seconds of a core that it has used. Throws once it has ended.
  double cpu_time() const;
  /// Waits for its end. Throws if it failed or does not come to it.
  void join(std::chrono::milliseconds longest = std::chrono::seconds{5});

 private:
  pid_t pid_ = -1;
  UniqueFd ready_;
};

/// What passed in a window of time, by the clock and by the core that the measured process had meanwhile.
struct Rate {
  double packets_per_second = 0;
  double cpu_seconds_per_packet = 0;
};
/// Sleeps through a warm-up and through `seconds`, and says what was counted in these.
Rate observe(const Stage& stage, const Child& measured, double seconds);

void sleep_for(double seconds);
/// Seconds, of a clock that only goes forward.
double now();
/// Throws std::runtime_error with `what` unless it is so.
void require(bool so, const char* what);

}  // namespace tunport::bench
