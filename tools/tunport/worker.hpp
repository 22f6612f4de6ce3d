#pragma once
/// A process that does the work, and its parent's view of it.
///
/// Theory. The parent opens and sets up; then it forks the worker, which inherits the descriptors, gives up
/// its privileges and runs the loop of the port. A packet from the network is seen by the worker only. The
/// parent keeps what has to be put back, COMMAND and the signals, and waits. A pair of sockets joins the two:
/// the parent asks for the end, the worker says that it is ready, and what it counted at its end. The closing
/// of one side tells the other side of a death: an orphaned worker ends itself, and the parent of a dead
/// worker cleans up.

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/host/host.hpp"
#include "tunport/port/statistics.hpp"

namespace tunport::tool {

/// What the worker says: once when it is ready, once at its end, and when it is asked or has a line.
struct WorkerReport {
  enum class Kind : std::uint8_t { ready, event, counters, addresses, ended };

  Kind kind = Kind::ready;
  bool addresses_are_settled = false;  ///< of the host, with `addresses`
  std::array<char, 512> text{};        ///< the event, or the failure; cut to this size, and empty without
  Statistics port;
  HostStatistics host;
  std::uint64_t udp_echoes = 0;

  void set_text(std::string_view line);
};

/// What the parent asks for.
enum class WorkerRequest : char {
  lose_connection = 'l',  ///< the end, after what is queued
  stop_listening = 's',   ///< the end, now
  counters = 'c',         ///< a report of the counters
  addresses = 'a',        ///< a report of the host's addresses
};

/// Sends a report to the parent. False if there is no parent any more; an event or counters may also be lost
/// where the parent is behind with a hundred of them.
bool send_report(int control, const WorkerReport& report) noexcept;

/// The parent's side. The destructor kills a worker that still runs, and reaps it.
class Worker final : public Watched {
 public:
  /// Called with each report after the first.
  using Reported = std::function<void(const WorkerReport& report)>;
  /// Called once, last of all; `death` tells how the process ended.
  using Ended = std::function<void(const std::string& death)>;

  /// Forks. `life` gets the worker's socket, reports that it is ready and never returns. Waits for the
  /// readiness. Throws `Failure`: there is no process, or with the worker's line.
  Worker(Reactor& reactor, const std::function<void(UniqueFd control)>& life, Reported reported, Ended ended);
  ~Worker() override;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Asks for an end, or for counters. No effect on a worker that has ended.
  void ask(WorkerRequest request) noexcept;

  int fileno() const override { return control_.get(); }
  bool reading() const override { return true; }
  bool writing() const override { return false; }
  /// Takes a report, or notes the death.
  void do_read() override;
  void do_write() override {}
  void do_error() override { do_read(); }

 private:
  /// Waits for the process's end, and tells how it ended.
  std::string reap();

  Reactor& reactor_;
  UniqueFd control_;
  Reported reported_;
  Ended ended_;
  pid_t pid_ = -1;
  bool is_watched_ = false;
};

}  // namespace tunport::tool
