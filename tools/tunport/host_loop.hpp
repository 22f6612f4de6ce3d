#pragma once
/// The port of `tunport host` with the host behind it: what the worker runs.

#include <string>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/host/host.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/port/tuntap_port.hpp"

#include "host_plan.hpp"
#include "worker.hpp"

namespace tunport::tool {

/// Opened by the parent, served by the worker. The plan is borrowed.
class HostLoop {
 public:
  /// `given`: the device of `--fd`, or closed.
  HostLoop(const HostPlan& plan, Device given);

  /// Opens the device. Throws `Error` or `Failure`.
  void start_listening();
  TuntapPort& port() { return port_; }

  /// In the worker: drops privileges as planned, reports that it is ready, serves until it is asked to end,
  /// or the parent or the device is gone, and reports what it counted.
  [[noreturn]] void serve(UniqueFd control) noexcept;

 private:
  class Control;

  void enter_namespace();
  WorkerReport report(WorkerReport::Kind kind) const;
  void send_event(int control, LinkEvent event, const LinkInfo& link) const;
  void run(int control);

  const HostPlan& plan_;
  asio::io_context context_{1};
  AsioReactor reactor_{context_};
  Host host_;
  UdpEcho echo_;
  TuntapPort port_;
  std::string name_;  // of the interface at the start
};

}  // namespace tunport::tool
