#include "host_command.hpp"

#include <algorithm>
#include <csignal>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"

#include "account.hpp"
#include "child.hpp"
#include "failure.hpp"
#include "host_loop.hpp"
#include "link_setup.hpp"
#include "metrics_file.hpp"
#include "notify.hpp"
#include "output.hpp"
#include "sandbox.hpp"
#include "signals.hpp"
#include "summary.hpp"
#include "worker.hpp"

// Theory. The parts are made in this order: the device, the device's settings, the worker that serves the
// device (worker.hpp), COMMAND; the end is in reverse. This process waits and puts back, and sees no packet.
// The end has two sides, the port's and COMMAND's: the first asks the second to end, and after both the
// signals are let go of, so that the loop has nothing left to wait for. Signals are blocked throughout and
// read by the loop, so no step is interrupted halfway. Destructors put everything back after an exception.

namespace tunport::tool {
namespace {

/// How long a COMMAND whose device is gone may take after SIGTERM.
constexpr auto termination_grace = std::chrono::seconds{2};
/// How often we look whether COMMAND can bind to its addresses, and the host answers for its own.
constexpr auto look_interval = std::chrono::milliseconds{50};
/// How often the file of `--metrics` is replaced.
constexpr auto metrics_interval = std::chrono::seconds{5};

/// Who called sudo. In the user namespace of a sandbox the user is root by name only.
std::optional<Account> invoker_of(const HostPlan& plan, const std::optional<Sandbox>& sandbox) {
  if (plan.privileged || (sandbox && sandbox->has_users)) return std::nullopt;
  return invoking_account();
}

/// True if the host looks for duplicates of its IPv6 addresses, for a second, before it answers for them.
bool probes_addresses(const HostPlan& plan) {
  return plan.port.kind == DeviceKind::tap &&
         std::ranges::any_of(plan.host_addresses, [](const IpAddress& address) { return address.is_v6(); });
}

class HostRun {
 public:
  HostRun(const HostPlan& plan, const std::optional<Sandbox>& sandbox);
  /// `given`: the device of `--fd`, or closed.
  int run(Device given);

 private:
  void on_signal(const signalfd_siginfo& info);
  void on_child_signal();
  void on_report(const WorkerReport& report);
  void on_worker_ended(const std::string& death);
  void lose_port(const std::string& reason);
  void stop(int status);
  void terminate_child();
  void leave_child(int signal);
  void finish_if_done();
  void open(Device given);
  void set_link_up(TuntapPort& port);
  void announce() const;
  void start_command();
  void ask_for_counters();
  void write_metrics();

  const HostPlan& plan_;
  const std::optional<Sandbox>& sandbox_;
  std::optional<Account> invoker_ = invoker_of(plan_, sandbox_);  // as whom COMMAND runs; else as we do
  asio::io_context context_{1};
  AsioReactor reactor_{context_};
  Device device_;
  Link device_link_;
  std::optional<LinkSetup> link_;
  Signals signals_;
  std::optional<Worker> worker_;
  Reactor::Timer kill_timer_;
  Reactor::Timer start_timer_;
  Reactor::Timer metrics_timer_;
  bool metrics_failed_ = false;  // said already
  int looks_left_ = 60;          // at the addresses, before COMMAND starts anyhow
  bool host_is_settled_ = !probes_addresses(plan_);
  std::optional<Child> child_;
  std::optional<int> status_;  // from the decision to end on
  bool port_lost_ = false;
  bool is_interrupted_ = false;  // from a terminal
  bool is_hurried_ = false;      // a signal asked us to end: no reader may keep us waiting
  HostSummary summary_;
};

/// The device of `--fd`, if it is the one of PORT; closed without `--fd`.
Device given_device(const HostPlan& plan) {
  if (!plan.fd) return {};
  const std::string option = fmt::format("--fd '{}': ", *plan.fd);
  std::error_code ec;
  Device device = Device::adopt(UniqueFd{*plan.fd}, {.offload = plan.port.offload}, linux_system(), ec);
  if (ec == errno_code(EBADF))
    throw Failure{status::failed,
                  option + "no descriptor is open there for reading and writing; have it inherited"};
  if (ec) throw Failure{status::failed, option + ec.message()};
  if (device.kind() != plan.port.kind || device.name() != plan.port.name)
    throw Failure{status::failed, fmt::format("{0}the device is {1}:{2}; write {1}:{2} as PORT", option,
                                              to_string(device.kind()), device.name())};
  return device;
}

HostRun::HostRun(const HostPlan& plan, const std::optional<Sandbox>& sandbox)
    : plan_{plan}, sandbox_{sandbox}, signals_{reactor_, [this](const signalfd_siginfo& info) {
                                                 on_signal(info);
                                               }} {}

int HostRun::run(Device given) {
  open(std::move(given));
  if (!plan_.metrics.empty()) {
    replace_file(plan_.metrics, to_prometheus(summary_));  // an error ends the command before it is up
    metrics_timer_ = reactor_.call_later(metrics_interval, [this] { ask_for_counters(); });
  }
  announce();
  notify("READY=1");
  signals_.do_read();  // pending ones: COMMAND would be ended at once
  start_command();
  context_.run();
  notify("STOPPING=1");
  const bool is_as_it_was = link_->put_back_or_say_so();
  if (!plan_.metrics.empty()) write_metrics();
  const Patience patience = is_hurried_ ? Patience::brief : Patience::until_asked_to_end;
  std::string text = plan_.json    ? to_json(summary_) + '\n'
                     : plan_.quiet ? ""
                                   : to_table(summary_, columns_of(STDOUT_FILENO));
  // The terminal has written "^C".
  if (is_interrupted_ && !text.empty() && ::isatty(STDOUT_FILENO) != 0) text.insert(0, "\n");
  print(STDOUT_FILENO, text, patience);
  return is_as_it_was ? status_.value_or(0) : status::failed;
}

void HostRun::open(Device given) {
  HostLoop loop{plan_, std::move(given)};
  loop.start_listening();
  set_link_up(loop.port());
  worker_.emplace(
      reactor_, [&](UniqueFd control) { loop.serve(std::move(control)); },
      [this](const WorkerReport& report) { on_report(report); },
      [this](const std::string& death) { on_worker_ended(death); });
  // The worker reads and writes from here on. After its end, in whatever way, the close leaves a device that
  // stays as it was.
  device_ = loop.port().release_device();
}

void HostRun::set_link_up(TuntapPort& port) {
  summary_.where = port.get_host();
  // A device that is not persistent goes with the descriptor, and the settings go with the device.
  device_link_ = port.device().link();
  link_.emplace(device_link_.system(), summary_.where.name,
                plan_.fd || port.device().capabilities().persistent);
  const InterfaceOptions& interface = plan_.port.interface;
  if (interface.mtu) link_->set_mtu(*interface.mtu);
  if (interface.mac) link_->set_mac(*interface.mac);
  if (interface.tx_queue_length) link_->set_tx_queue_length(*interface.tx_queue_length);
  for (const IpPrefix& address : plan_.interface_addresses) link_->add_address(address);
  link_->set_up();
}

void HostRun::on_report(const WorkerReport& report) {
  if (report.kind == WorkerReport::Kind::addresses) {
    host_is_settled_ = report.addresses_are_settled;
    return;
  }
  if (report.kind == WorkerReport::Kind::event)
    return print(plan_.json ? STDERR_FILENO : STDOUT_FILENO, std::string{report.text.data()} + '\n');
  summary_.port = report.port;
  summary_.host = report.host;
  summary_.udp_echoes = report.udp_echoes;
  if (report.kind == WorkerReport::Kind::ended) {
    lose_port(report.text.data());
  } else if (!port_lost_ && !status_) {
    summary_.kernel_drops = link_->kernel_drops();
    write_metrics();
  }
}

/// The file is written here, by who asked for it: the worker has no rights over it.
void HostRun::ask_for_counters() {
  worker_->ask(WorkerRequest::counters);
  metrics_timer_ = reactor_.call_later(metrics_interval, [this] { ask_for_counters(); });
}

/// A full disk, say, is told once; the next time may succeed.
void HostRun::write_metrics() try {
  replace_file(plan_.metrics, to_prometheus(summary_));
} catch (const Failure& failure) {
  if (!std::exchange(metrics_failed_, true)) print_error(failure.what());
}

void HostRun::announce() const {
  if (plan_.quiet) return;
  std::string line = "tunport: " + to_string(summary_.where) + " is up";
  if (!plan_.interface_addresses.empty()) line += " with";
  for (const IpPrefix& address : plan_.interface_addresses) line += ' ' + to_string(address);
  line += "; answering for";
  for (const IpAddress& address : plan_.host_addresses) line += ' ' + to_string(address);
  for (const IpPrefix& prefix : plan_.host_prefixes) {
    if (line.back() != 'r') line += ',';
    line += " every address of " + to_string(prefix);
  }
  if (plan_.dhcp) line += ", DHCP for " + to_string(IpPrefix{plan_.dhcp->network_v4(), plan_.dhcp->length});
  if (!plan_.udp_echo.empty()) line += fmt::format(", UDP echo on {}", fmt::join(plan_.udp_echo, " "));
  line += '\n';
  for (const IpAddress& address : plan_.host_addresses)
    if (!plan_.dhcp && std::ranges::none_of(plan_.interface_addresses,
                                            [&](const IpPrefix& subnet) { return subnet.contains(address); }))
      line += fmt::format(
          "tunport: {0} is in no subnet of {1}, so it needs a route: 'ip route add {0} dev {1}'\n",
          to_string(address), summary_.where.name);
  if (sandbox_ && plan_.command.empty())
    line += "tunport: the sandbox is entered with '" + sandbox_->way_in(::getpid()) + "'\n";
  print(plan_.json ? STDERR_FILENO : STDOUT_FILENO, line);
}

void HostRun::start_command() {
  if (status_ || plan_.command.empty()) return;
  if (looks_left_-- > 0 && !(host_is_settled_ && link_->addresses_are_usable())) {
    if (!host_is_settled_) worker_->ask(WorkerRequest::addresses);
    start_timer_ = reactor_.call_later(look_interval, [this] { start_command(); });
    return;
  }
  child_.emplace(
      Child::start(plan_.command, plan_.json ? Child::Output::to_stderr : Child::Output::ours, invoker_));
}

void HostRun::on_signal(const signalfd_siginfo& info) {
  const int signal = static_cast<int>(info.ssi_signo);
  // The kernel sends the signals of a terminal, as Ctrl-C, to the whole foreground group.
  const bool is_terminals =
      info.ssi_code == SI_KERNEL && (signal == SIGINT || signal == SIGQUIT || signal == SIGHUP);
  is_interrupted_ = is_interrupted_ || is_terminals;
  is_hurried_ = is_hurried_ || signal != SIGCHLD;
  if (signal == SIGCHLD) {
    on_child_signal();
  } else if (child_) {
    if ((!is_terminals || !child_->in_our_group()) && !child_->send(signal)) leave_child(signal);
  } else if (status_) {
    worker_->ask(WorkerRequest::stop_listening);  // again: in less order, but now
  } else {
    const bool orderly = plan_.command.empty() && (signal == SIGINT || signal == SIGTERM);
    stop(orderly ? 0 : status::signalled + signal);
  }
}

void HostRun::on_child_signal() {
  if (!child_) return;
  const auto ended = child_->poll();
  if (!ended) return;
  child_.reset();
  kill_timer_.cancel();
  stop(*ended);
  finish_if_done();
}

void HostRun::on_worker_ended(const std::string& death) {
  if (port_lost_) return;
  status_.reset();  // no order was kept, whatever was asked for
  lose_port("the worker " + death);
}

void HostRun::lose_port(const std::string& reason) {
  port_lost_ = true;
  metrics_timer_.cancel();
  device_.close();
  if (!reason.empty() && !status_) {
    status_ = status::failed;
    print_error(fmt::format("{}: {}; start tunport again{}", summary_.where.name, reason,
                            plan_.port.mode == OpenMode::attach ? " once there is a new one" : ""));
    terminate_child();
  }
  finish_if_done();
}

void HostRun::stop(int status) {
  if (status_) return;
  status_ = status;
  summary_.kernel_drops = link_->kernel_drops();
  worker_->ask(WorkerRequest::lose_connection);
}

/// COMMAND has become another user, and cannot be asked to end.
void HostRun::leave_child(int signal) {
  print_error(
      fmt::format("command '{0}': signal {1} cannot be passed on, as it has become another user; "
                  "tunport ends without it: end it with 'sudo kill {2}'",
                  plan_.command.front(), signal, child_->pid()));
  child_.reset();
  kill_timer_.cancel();
  stop(status::signalled + signal);
  finish_if_done();
}

void HostRun::terminate_child() {
  if (!child_) return;
  if (!child_->send(SIGTERM)) return leave_child(SIGTERM);
  child_->send(SIGCONT);  // a stopped COMMAND could not take the first
  kill_timer_ = reactor_.call_later(termination_grace, [this] {
    if (child_ && !child_->send(SIGKILL)) leave_child(SIGKILL);
  });
}

void HostRun::finish_if_done() {
  if (port_lost_ && !child_) signals_.close();
}

}  // namespace

int run_host(const HostPlan& plan) {
  Device given = given_device(plan);  // first of all: no descriptor of ours has that number
  block_signals();
  keep_notifications_to_us();
  std::optional<Sandbox> sandbox;
  if (plan.sandbox) sandbox = enter_sandbox();
  if (sandbox && !sandbox->note.empty() && !plan.quiet) print_error(sandbox->note);
  return HostRun{plan, sandbox}.run(std::move(given));
}

}  // namespace tunport::tool
