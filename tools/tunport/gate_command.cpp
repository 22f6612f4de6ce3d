#include "gate_command.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <list>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/event/epoll_reactor.hpp"
#include "tunport/gate/gate.hpp"
#include "tunport/gate/udp_relay.hpp"

#include "child.hpp"
#include "failure.hpp"
#include "gate_connection.hpp"
#include "gate_sandbox.hpp"
#include "gate_summary.hpp"
#include "gate_udp.hpp"
#include "live_count.hpp"
#include "notify.hpp"
#include "output.hpp"
#include "proxy_connection.hpp"
#include "publisher.hpp"
#include "signals.hpp"

// Theory. With --sandbox the namespaces, the device and the listeners are made by a process of their own
// (gate_sandbox.hpp); we stay outside, where the outgoing sockets belong, and COMMAND runs inside. Otherwise
// the device is made here. Each request is led to its target: the outer connection is made first, so the
// client sees its outcome; then the client is accepted, and the bytes are relayed.

namespace tunport::tool {
namespace {

constexpr auto termination_grace = std::chrono::seconds{2};
constexpr std::size_t least_look = 1024;                // connections
constexpr auto longest_rest = std::chrono::seconds{2};  // for what COMMAND had sent at its end

/// As many descriptors as allowed: a connection takes up to four. Returns the former limit.
rlimit raise_descriptor_limit() {
  rlimit former{};
  ::getrlimit(RLIMIT_NOFILE, &former);
  rlimit raised = former;
  raised.rlim_cur = raised.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &raised);
  return former;
}

UniqueFd open_log(const std::string& path) {
  if (path.empty()) return {};
  UniqueFd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)};
  if (!file) throw Failure{status::failed, fmt::format("--log '{}': {}", path, errno_code(errno).message())};
  return file;
}

void add(UdpRelayStatistics& sum, const UdpRelayStatistics& more) {
  sum.flows += more.flows;
  sum.flows_evicted += more.flows_evicted;
  sum.datagrams_out += more.datagrams_out;
  sum.datagrams_in += more.datagrams_in;
  sum.datagrams_dropped += more.datagrams_dropped;
}

/// The proxy of `--to`; nothing for a direct way.
std::optional<Proxy> find_proxy(const Upstream& upstream) {
  if (upstream.kind == UpstreamKind::direct) return std::nullopt;
  std::string problem;
  std::vector<Endpoint> endpoints = resolve(upstream, problem);
  if (endpoints.empty())
    throw Failure{status::failed,
                  fmt::format("--to {}: {}; write an address instead, or look after the machine's resolver",
                              to_string(upstream), problem)};
  return Proxy{upstream, std::move(endpoints), [](const std::string& line) { print_error(line); }};
}

class GateRun {
 public:
  GateRun(const GatePlan& plan, std::optional<GateSandbox> sandbox, std::optional<Proxy> proxy);
  int run();

 private:
  void announce() const;
  std::string count() const;
  std::size_t connections() const {
    return connections_.size() + (publisher_ ? publisher_->connections() : 0);
  }
  void end_if_idle();
  void tell_closed_way(const Endpoint& listener) const;
  std::optional<IpAddress> ping_target(const IpAddress& destination) const;
  void start_command();
  void take_requests();
  void look_after_clients();
  void begin(GateRequest request);
  void ended(const ConnectionRecord& record);
  void log(const ConnectionRecord& record);
  void on_signal(const signalfd_siginfo& info);
  void on_child_signal();
  void lose_port(const std::error_code& reason);
  void terminate_child();
  void stop(int status);
  void finish_if_done();
  void finish();

  const GatePlan& plan_;
  std::optional<GateSandbox> sandbox_;
  std::optional<Proxy> proxy_;
  rlimit former_limit_ = raise_descriptor_limit();
  EpollReactor reactor_;  // a turn costs the ready descriptors only, of thousands
  Signals signals_;
  UniqueFd log_;
  GateSummary summary_;
  PipePool pipes_;
  UdpRelay udp_;
  FakeNames names_;
  std::optional<GateUdp> udp_by_proxy_;
  std::unique_ptr<Gate> gate_;
  std::list<GateConnection> connections_;
  std::size_t next_look_ = least_look;
  std::optional<InsideSockets> inside_;
  std::optional<Publisher> publisher_;
  std::optional<Child> child_;
  Reactor::Timer kill_timer_;
  Reactor::Timer end_timer_;
  std::optional<LiveCount> live_;
  std::optional<int> status_;  // from the decision to end on
  bool rest_ = false;          // COMMAND has ended, connections have not
  bool is_hurried_ = false;
  bool is_interrupted_ = false;
  bool log_failed_ = false;  // said already
};

GateRun::GateRun(const GatePlan& plan, std::optional<GateSandbox> sandbox, std::optional<Proxy> proxy)
    : plan_{plan},
      sandbox_{std::move(sandbox)},
      proxy_{std::move(proxy)},
      signals_{reactor_, [this](const signalfd_siginfo& info) { on_signal(info); }},
      log_{open_log(plan.log)},
      udp_{reactor_, {.target = [this](const Endpoint&, const Endpoint& destination) {
             const GateTarget target = plan_.rules.decide(destination);
             const bool is_refused = target.refusal || (proxy_ && target.way == GateWay::upstream);
             return is_refused ? std::nullopt : std::optional{target.endpoint};
           }}} {
  if (proxy_)
    udp_by_proxy_.emplace(reactor_, plan_.rules, *proxy_, plan_.fakes_names ? &names_ : nullptr, udp_);
  GateOptions options{
      .ping_target = [this](const IpAddress&, const IpAddress& to) { return ping_target(to); },
      .on_closed_way = [this](const Endpoint& listener) { tell_closed_way(listener); },
      .port = plan.port.options()};
  if (sandbox_) {
    options.port.interface = {};
    gate_ = std::make_unique<Gate>(reactor_, std::move(sandbox_->device), std::move(sandbox_->listeners),
                                   options);
  } else {
    options.port.interface = plan.port.interface;
    gate_ = std::make_unique<Gate>(reactor_, plan.port.name, options);
  }
}

/// The rules of destinations count for pings, too. A ping past the proxy would tell who we are.
std::optional<IpAddress> GateRun::ping_target(const IpAddress& destination) const {
  const GateTarget target = plan_.rules.decide({destination, 0});
  if (target.refusal || (proxy_ && target.way == GateWay::upstream)) return std::nullopt;
  return target.endpoint.address;
}

void GateRun::tell_closed_way(const Endpoint& listener) const {
  const std::string& name = summary_.where.name;
  print_error(fmt::format(
      "{0}: the kernel does not answer at {1}: a firewall drops what comes in from {0}, or rp_filter, so "
      "connections will time out; let it in, as by 'iptables -I INPUT -i {0} -j ACCEPT', and see "
      "'tunport doctor tun:{0}'",
      name, to_string(listener)));
}

int GateRun::run() {
  DatagramProtocol& udp = udp_by_proxy_ ? static_cast<DatagramProtocol&>(*udp_by_proxy_) : udp_;
  gate_->udp().add_default(udp);
  udp_.send_errors_to(&gate_->port());
  gate_->port().on_connection_lost([this](const std::error_code& reason) { lose_port(reason); });
  gate_->start();
  summary_.where = gate_->port().get_host();
  take_requests();
  if (!plan_.published.empty()) {
    inside_.emplace([this] { return sandbox_->enter(); });
    publisher_.emplace(reactor_, pipes_, *inside_, plan_.published, [this](const ConnectionRecord& record) {
      ended(record);
      end_if_idle();
    });
  }
  announce();
  notify("READY=1");
  signals_.do_read();  // pending ones: COMMAND would be ended at once
  start_command();
  if (plan_.command.empty() && !plan_.quiet && !plan_.json && ::isatty(STDOUT_FILENO) != 0)
    live_.emplace(reactor_, STDOUT_FILENO, [this] { return count(); });
  reactor_.run();
  notify("STOPPING=1");
  udp_.send_errors_to(nullptr);
  gate_->udp().remove_default(udp);
  summary_.udp = udp_.statistics();
  if (udp_by_proxy_) add(summary_.udp, udp_by_proxy_->statistics());
  summary_.gate = gate_->statistics();
  summary_.port = gate_->port().statistics();
  std::string text = plan_.json ? to_json(summary_) + '\n' : plan_.quiet ? "" : to_table(summary_);
  // Standard output is COMMAND's.
  const int where = plan_.command.empty() || plan_.json ? STDOUT_FILENO : STDERR_FILENO;
  if (is_interrupted_ && !text.empty() && ::isatty(where) != 0) text = fmt::format("\n{}", text);
  print(where, text, is_hurried_ ? Patience::brief : Patience::until_asked_to_end);
  return status_.value_or(0);
}

void GateRun::announce() const {
  if (plan_.quiet || (plan_.sandbox && !plan_.command.empty())) return;
  std::string line = "tunport: " + to_string(summary_.where) + " is a gate";
  if (!plan_.routes.empty()) line += " for";
  for (const IpPrefix& route : plan_.routes) line += ' ' + to_string(route);
  line += '\n';
  if (plan_.routes.empty())
    line += fmt::format("tunport: what is to pass needs a route: 'ip route add CIDR dev {}'\n",
                        summary_.where.name);
  print(plan_.json ? STDERR_FILENO : STDOUT_FILENO, line);
}

/// What happens now, for a terminal without a COMMAND.
std::string GateRun::count() const {
  std::uint64_t out = summary_.bytes_out;
  std::uint64_t in = summary_.bytes_in;
  for (const GateConnection& connection : connections_) {
    out += connection.progress().a_to_b;
    in += connection.progress().b_to_a;
  }
  return fmt::format("tunport: {} connections now, {} in all, {} out, {} in", connections_.size(),
                     gate_->statistics().requests, short_size(out), short_size(in));
}

void GateRun::start_command() {
  if (status_ || plan_.command.empty()) return;
  child_.emplace(
      Child::start(plan_.command, plan_.json ? Child::Output::to_stderr : Child::Output::ours, {}, [this] {
        ::setrlimit(RLIMIT_NOFILE, &former_limit_);
        return sandbox_ ? sandbox_->enter() : 0;
      }));
}

void GateRun::take_requests() {
  gate_->take_request([this](const std::error_code& ec, GateRequest request) {
    if (ec) return;
    begin(std::move(request));
    take_requests();
  });
}

/// A client that gives up, or that a flood displaces, leaves an outer connection in the making, for two
/// minutes at worst. Those end whenever the connections have doubled.
void GateRun::look_after_clients() {
  if (connections_.size() < next_look_) return;
  for (auto next = connections_.begin(); next != connections_.end();) (next++)->look_after_client();
  next_look_ = std::max(least_look, 2 * connections_.size());
}

void GateRun::begin(GateRequest request) {
  GateTarget target = plan_.rules.decide(request.destination());
  Proxy* const proxy = proxy_ && target.way == GateWay::upstream ? &*proxy_ : nullptr;
  // Where the route to the proxy leads into the interface, our own connections would come again for ever.
  if (proxy != nullptr && !plan_.sandbox && !target.refusal && proxy->is_at(target.endpoint))
    target.refusal = GateRefusal::prohibited;
  std::optional<std::string> name;
  if (plan_.fakes_names && proxy != nullptr && FakeNames::covers(target.endpoint.address)) {
    name = names_.name_of(target.endpoint.address);
    if (!name && !target.refusal) target.refusal = GateRefusal::host_unreachable;
  }
  const auto place = connections_.emplace(connections_.end(), reactor_, pipes_, std::move(request), target,
                                          proxy, name.value_or(std::string{}));
  place->start([this, place](const ConnectionRecord& record) {
    ended(record);
    connections_.erase(place);
    end_if_idle();
  });
  summary_.most_at_once = std::max(summary_.most_at_once, connections_.size());
  look_after_clients();  // the new one stays, so that not all end
}

void GateRun::end_if_idle() {
  if (rest_ && connections() == 0) end_timer_ = reactor_.call_later(Duration::zero(), [this] { finish(); });
}

void GateRun::ended(const ConnectionRecord& record) {
  summary_.bytes_out += record.bytes_out;
  summary_.bytes_in += record.bytes_in;
  log(record);
}

void GateRun::log(const ConnectionRecord& record) {
  if (!log_) return;
  const std::string line = to_json(record) + '\n';
  if (::write(log_.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size())) return;
  if (!std::exchange(log_failed_, true))
    print_error(fmt::format("--log '{}': {}; lines are lost", plan_.log, std::strerror(errno)));
}

void GateRun::on_signal(const signalfd_siginfo& info) {
  const int signal = static_cast<int>(info.ssi_signo);
  // The kernel sends the signals of a terminal, as Ctrl-C, to the whole foreground group.
  const bool is_terminals =
      info.ssi_code == SI_KERNEL && (signal == SIGINT || signal == SIGQUIT || signal == SIGHUP);
  is_interrupted_ = is_interrupted_ || is_terminals;
  is_hurried_ = is_hurried_ || signal != SIGCHLD;
  if (signal == SIGCHLD) return on_child_signal();
  if (child_) {
    if (!is_terminals || !child_->in_our_group()) child_->send(signal);
    return;
  }
  const bool orderly = plan_.command.empty() && (signal == SIGINT || signal == SIGTERM);
  stop(orderly ? 0 : status::signalled + signal);
}

void GateRun::on_child_signal() {
  if (!child_) return;
  const auto ended = child_->poll();
  if (!ended) return;
  child_.reset();
  kill_timer_.cancel();
  // The kernel still has bytes of COMMAND's, and the ends of its connections.
  rest_ = !is_hurried_ && !status_ && connections() != 0;
  if (!rest_) return stop(*ended);
  status_ = *ended;  // as the kernel itself would have it, the bytes go on for a while
  end_timer_ = reactor_.call_later(longest_rest, [this] { finish(); });
}

void GateRun::lose_port(const std::error_code& reason) {
  if (reason && !status_) {
    status_ = status::failed;
    print_error(fmt::format("{}: {}; start tunport again", summary_.where.name, cause(reason)));
    terminate_child();
  }
  finish_if_done();
}

void GateRun::terminate_child() {
  if (!child_) return;
  child_->send(SIGTERM);
  child_->send(SIGCONT);  // a stopped COMMAND could not take the first
  kill_timer_ = reactor_.call_later(termination_grace, [this] {
    if (child_) child_->send(SIGKILL);
  });
}

void GateRun::stop(int status) {
  if (!status_) status_ = status;
  finish_if_done();
}

void GateRun::finish_if_done() {
  if (status_ && !child_) finish();
}

void GateRun::finish() {
  end_timer_.cancel();
  live_.reset();
  rest_ = false;
  summary_.flows_left += connections();  // the port's end comes here again
  for (const GateConnection& connection : connections_) ended(connection.cut_off());
  publisher_.reset();
  connections_.clear();
  gate_->stop();
  signals_.close();
}

}  // namespace

int run_gate(const GatePlan& plan) {
  std::optional<Proxy> proxy = find_proxy(plan.upstream);  // may take long: signals end it still
  block_signals();
  keep_notifications_to_us();
  std::optional<GateSandbox> sandbox;
  if (plan.sandbox) sandbox = GateSandbox::make(plan);
  if (sandbox && !sandbox->note.empty() && !plan.quiet) print_error(sandbox->note);
  return GateRun{plan, std::move(sandbox), std::move(proxy)}.run();
}

}  // namespace tunport::tool
