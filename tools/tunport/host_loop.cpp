#include "host_loop.hpp"

#include <cerrno>
#include <csignal>
#include <new>
#include <string>
#include <utility>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "failure.hpp"
#include "privileges.hpp"

namespace tunport::tool {
namespace {

HostOptions host_options(const HostPlan& plan) {
  HostOptions options;
  options.addresses = plan.host_addresses;
  options.prefixes = plan.host_prefixes;
  options.mac = plan.mac;
  options.subnets = plan.interface_addresses;
  options.advertised = plan.advertise_prefix;
  options.dhcp = plan.dhcp;
  return options;
}

/// `LinkSetup` sets the interface up, and names the commands that do the same.
PortOptions port_options(const HostPlan& plan) {
  PortOptions options = plan.port.options();
  options.interface = {};
  return options;
}

TuntapPort make_port(Reactor& reactor, const HostPlan& plan, FrameProtocol& protocol, Device given) {
  if (given) return {reactor, std::move(given), protocol, port_options(plan)};
  return {reactor, plan.port.kind, plan.port.name, protocol, port_options(plan)};
}

}  // namespace

/// The worker's socket: what the parent asks for.
class HostLoop::Control final : public Watched {
 public:
  Control(HostLoop& loop, int fd) : loop_{loop}, fd_{fd} { loop_.reactor_.add(*this); }
  ~Control() override { close(); }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  /// The reactor has a descriptor fewer to wait for.
  void close() {
    if (is_watched_) loop_.reactor_.remove(*this);
    is_watched_ = false;
  }
  int fileno() const override { return fd_; }
  bool reading() const override { return is_watched_; }
  bool writing() const override { return false; }
  void do_read() override {
    WorkerRequest request{};
    const ssize_t got = ::recv(fd_, &request, sizeof request, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) close();  // the parent is gone
    if (got > 0 && request == WorkerRequest::counters)
      send_report(fd_, loop_.report(WorkerReport::Kind::counters));
    else if (got > 0 && request == WorkerRequest::addresses)
      send_report(fd_, loop_.report(WorkerReport::Kind::addresses));
    else if (got > 0 && request == WorkerRequest::lose_connection)
      loop_.port_.lose_connection();
    else
      loop_.port_.stop_listening();
  }
  void do_write() override {}
  void do_error() override { do_read(); }

 private:
  HostLoop& loop_;
  int fd_;
  bool is_watched_ = true;
};

HostLoop::HostLoop(const HostPlan& plan, Device given)
    : plan_{plan},
      host_{host_options(plan)},
      echo_{plan.udp_echo},
      port_{make_port(reactor_, plan, host_.protocol(plan.port.kind), std::move(given))} {
  for (const std::uint16_t port : plan.udp_echo) host_.add_udp(port, echo_);
}

void HostLoop::start_listening() try {
  port_.start_listening();
  name_ = port_.get_host().name;
} catch (const CannotListenError& error) {
  if (error.code() != Errc::multi_queue_mismatch) throw;
  throw Failure{status::failed,
                error.subject() +
                    ": the device is multi-queue, which a port of tunport host is not; choose "
                    "another name, or make it without 'multi_queue'"};
}

/// The kernel is asked about the link in the worker's own namespace, as it can change to no other later.
void HostLoop::enter_namespace() {
  std::error_code unknown;
  const UniqueFd there = namespace_of_device(linux_system().io, port_.device().fileno(), unknown);
  if (!there || is_same_namespace(there.get(), current_namespace().get())) return;
  (void)!::setns(there.get(), CLONE_NEWNET);  // refused: the MTU of the link is not known
}

WorkerReport HostLoop::report(WorkerReport::Kind kind) const {
  WorkerReport report;
  report.kind = kind;
  report.port = port_.statistics();
  report.host = host_.statistics();
  report.udp_echoes = echo_.echoes();
  report.addresses_are_settled = host_.addresses_are_settled();
  return report;
}

void HostLoop::send_event(int control, LinkEvent event, const LinkInfo& link) const {
  std::string line = "tunport: " + link.name + ": " + std::string{to_string(event)};
  if (event == LinkEvent::mtu_changed) line.append(" to ").append(std::to_string(link.mtu));
  if (event == LinkEvent::renamed) line.append(" from ").append(name_);
  WorkerReport told;
  told.kind = WorkerReport::Kind::event;
  told.set_text(line);
  send_report(control, told);
}

void HostLoop::run(int control) {
  context_.notify_fork(asio::execution_context::fork_child);
  if (!plan_.privileged) {
    enter_namespace();
    drop_privileges(plan_.user, plan_.user_is_asked_for);
  }
  // After the change of the user, which the kernel forgets a wish of before.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Control requests{*this, control};
  std::string lost;
  port_.on_connection_lost([&](const std::error_code& reason) {
    requests.close();
    if (reason) lost = cause(reason);
  });
  if (plan_.verbose)
    port_.on_link_changed([&](LinkEvent event, const LinkInfo& link) { send_event(control, event, link); });
  if (!plan_.privileged) filter_system_calls();
  if (!send_report(control, {})) return;
  context_.run();
  WorkerReport last = report(WorkerReport::Kind::ended);
  last.set_text(lost);
  send_report(control, last);
}

void HostLoop::serve(UniqueFd control) noexcept {
  // The parent's destructors, which put everything back, do not run here.
  WorkerReport failed;
  failed.kind = WorkerReport::Kind::ended;
  try {
    run(control.get());
    ::_exit(0);
  } catch (const std::bad_alloc&) {
    failed.set_text("there is too little memory; end something else, or raise the limit ('ulimit -v')");
  } catch (const std::system_error& error) {
    const auto remedy = tunport::remedy(errno_code(error.code().value()));
    std::string line = error.what();
    if (dynamic_cast<const Error*>(&error) == nullptr && !remedy.empty()) line.append("; ").append(remedy);
    failed.set_text(line);
  } catch (const std::exception& error) {
    failed.set_text(error.what());
  }
  send_report(control.get(), failed);
  ::_exit(status::failed);
}

}  // namespace tunport::tool
