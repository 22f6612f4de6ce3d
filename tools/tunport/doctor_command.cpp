#include "doctor_command.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <utility>

#include <cap-ng.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/if_tun.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/device.hpp"
#include "tunport/device/system.hpp"

#include "failure.hpp"
#include "output.hpp"

namespace tunport::tool {
namespace {

constexpr auto driver = "/dev/net/tun";

User this_user() {
  User user{.uid = ::geteuid(), .groups = {::getegid()}};
  std::array<gid_t, 1024> groups{};
  if (const int count = ::getgroups(groups.size(), groups.data()); count > 0)
    user.groups.insert(user.groups.end(), groups.begin(), groups.begin() + count);
  ::capng_get_caps_process();
  user.may_make = ::capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN) != 0;
  return user;
}

/// Opens a device in a network namespace of the calling process's own, and tells in a line.
std::string try_here() {
  try {
    enter_sandbox();
    Device device = Device::open(DeviceKind::tun, "trial%d", {.offload = OffloadFeatures::all()});
    constexpr unsigned long checksums = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    constexpr unsigned long tunnels = 0x80 | 0x100;  // TUN_F_UDP_TUNNEL_GSO and _CSUM, linux/if_tun.h of 6.17
    const bool has_tunnels = ::ioctl(device.fileno(), TUNSETOFFLOAD, checksums | tunnels) == 0;
    return fmt::format("+{} {}", has_tunnels ? 1 : 0, to_string(device.capabilities().offload));
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// In a process of its own: a namespace is not left again.
Trial try_in_a_namespace() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return {.failure = errno_code(errno).message()};
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string line = try_here();
    const bool told = ::write(ends[1], line.data(), line.size()) == static_cast<ssize_t>(line.size());
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string line;
  std::array<char, 1024> buffer{};
  for (ssize_t got = 0; child > 0 && (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    line.append(buffer.data(), static_cast<std::size_t>(got));
  ::close(ends[0]);
  if (child < 0) return {.failure = errno_code(errno).message()};
  ::waitpid(child, nullptr, 0);
  if (line.size() < 3 || line.front() != '+')
    return {.failure = line.empty() ? "the trial was killed" : line};
  return {.offload = line.substr(3), .tunnels = line[1] == '1'};
}

/// The output of a program; nothing if there is none, or on a failure.
std::optional<std::string> output_of(const char* command) {
  std::FILE* const pipe = ::popen(command, "re");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) != 0;)
    text.append(buffer.data(), got);
  return ::pclose(pipe) == 0 ? std::optional{text} : std::nullopt;
}

/// Rules of the older iptables, which nft does not show.
bool has_old_tables() {
  for (const char* const path : {"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"})
    if (std::ifstream file{path}; file.peek() != std::ifstream::traits_type::eof()) return true;
  return false;
}

std::vector<Finding> look_at_firewall(const User& user) {
  constexpr auto subject = "firewall";
  if (!user.may_make) return {{Verdict::note, subject, "not looked at, which needs root"}};
  const auto ruleset = output_of("nft -j list ruleset 2>/dev/null");
  if (!ruleset)
    return {
        {Verdict::note, subject,
         "not looked at, which needs nft; install nftables, or look at 'iptables -S' for rules that drop"}};
  if (auto found = check_firewall(*ruleset)) {
    if (has_old_tables())
      found->push_back({Verdict::note, subject,
                        "there are rules of iptables-legacy, which nft does not show; look at "
                        "'iptables-legacy -S INPUT' for rules that drop"});
    return *found;
  }
  return {{Verdict::note, subject,
           "the answer of 'nft -j list ruleset' is not known; look at 'nft list ruleset'"}};
}

/// "FAMILY TABLE CHAIN" of a chain or a rule.
std::string name_of(const nlohmann::json& object, const char* chain) {
  return fmt::format("{} {} {}", object.value("family", "?"), object.value("table", "?"),
                     object.value(chain, "?"));
}

/// True for a rule without a condition that drops or rejects, as the last one of many firewalls.
bool drops_everything(const nlohmann::json& rule) {
  const auto statements = rule.find("expr");
  if (statements == rule.end() || !statements->is_array()) return false;
  bool drops = false;
  for (const auto& statement : *statements) {
    if (statement.contains("drop") || statement.contains("reject"))
      drops = true;
    else if (!statement.contains("counter") && !statement.contains("log"))
      return false;
  }
  return drops;
}

bool may_use(const TunnelInfo& tunnel, const User& user) {
  if (user.may_make) return true;
  if (tunnel.owner && *tunnel.owner != user.uid) return false;
  if (tunnel.group && std::ranges::find(user.groups, *tunnel.group) == user.groups.end()) return false;
  return tunnel.owner || tunnel.group;
}

}  // namespace

std::string to_report(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    constexpr std::array words{"ok", "note", "MISSING"};
    text += fmt::format("{:<9}{}: {}\n", words.at(static_cast<std::size_t>(finding.verdict)), finding.subject,
                        finding.text);
  }
  return text;
}

Finding check_driver(const std::error_code& found) {
  if (!found || found == Errc::no_such_device) return {Verdict::ok, driver, "can be opened"};
  return {Verdict::missing, driver, found.message()};
}

std::vector<Finding> check_ways(const User& user, const Trial& trial, bool is_port_prepared) {
  std::vector<Finding> findings;
  const bool has_way = user.may_make || trial.failure.empty() || is_port_prepared;
  if (user.may_make)
    findings.push_back({Verdict::ok, "privilege", "interfaces can be made and set up (CAP_NET_ADMIN)"});
  else
    findings.push_back(
        {has_way ? Verdict::note : Verdict::missing, "privilege",
         "interfaces cannot be made outside of a sandbox; run as root, or have one prepared: 'sudo ip tuntap "
         "add dev tp0 mode tap user $USER'"});
  if (trial.failure.empty())
    findings.push_back({Verdict::ok, "--sandbox", "a network namespace can be made, and a device in it"});
  else
    findings.push_back({has_way ? Verdict::note : Verdict::missing, "--sandbox", trial.failure});
  return findings;
}

std::vector<Finding> check_offload(const Trial& trial) {
  if (!trial.failure.empty()) return {{Verdict::note, "offload", "not known, as the trial failed"}};
  std::vector<Finding> findings;
  const bool has_uso = trial.offload.find("uso") != std::string::npos;
  const bool has_tso = trial.offload.find("tso4") != std::string::npos;
  if (has_tso && has_uso)
    findings.push_back({Verdict::ok, "offload", trial.offload});
  else if (has_tso)
    findings.push_back(
        {Verdict::note, "offload",
         trial.offload + "; UDP super-packets need Linux 6.2, so UDP goes datagram by datagram"});
  else
    findings.push_back(
        {Verdict::note, "offload", "none: every packet is read and written by itself, which is slower"});
  findings.push_back({Verdict::ok, "UDP tunnel offload",
                      trial.tunnels ? "granted by this kernel" : "not in this kernel (Linux 6.17 has it)"});
  return findings;
}

Finding check_port(const PortConfig& port, const std::optional<LinkInfo>& link,
                   const std::vector<Holder>& holders, const User& user) {
  const std::string& name = port.name;
  const auto missing = [&](std::string text) { return Finding{Verdict::missing, name, std::move(text)}; };
  if (!link && port.mode == OpenMode::attach)
    return missing(fmt::format("there is no such interface; make it: 'sudo ip tuntap add dev {} mode {}'",
                               name, to_string(port.kind)));
  if (!link) return {Verdict::ok, name, "the name is free"};
  if (!link->tunnel) return missing("is no TUN/TAP interface; choose another name");
  if (port.mode == OpenMode::create)
    return missing("is there already; leave mode=create out, or choose another name");
  const TunnelInfo& tunnel = *link->tunnel;
  if (tunnel.kind != port.kind)
    return missing(fmt::format("is a {0}; write {0}:{1}", to_string(tunnel.kind), name));
  if (!holders.empty() && !tunnel.multi_queue)
    return missing(fmt::format("is held by {} (process {}); end it, or choose another name",
                               holders.front().name, holders.front().pid));
  if (tunnel.multi_queue)
    return missing("is multi-queue, which a port of tunport host is not; make it without 'multi_queue'");
  if (!may_use(tunnel, user))
    return missing(
        fmt::format("is not this user's; have it made for the user: 'sudo ip tuntap add dev {} mode {} "
                    "user $USER'",
                    name, to_string(tunnel.kind)));
  return {Verdict::ok, name, "is free, and this user may attach to it"};
}

Finding check_rp_filter(const std::string& interface, const ReadSysctl& read) {
  const auto of = [&](const std::string& name) {
    return read("net/ipv4/conf/" + name + "/rp_filter").value_or(0);
  };
  const long own = of(interface);
  if (std::max(of("all"), own) != 1) return {Verdict::ok, "rp_filter", "not strict"};
  return {Verdict::note, "rp_filter",
          fmt::format(
              "strict: packets from addresses that are routed elsewhere are dropped, and so the connections "
              "of a gate to what no route leads into the interface; loosen it where such are sent: 'sysctl "
              "-w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{}.rp_filter=2'",
              interface)};
}

std::optional<std::vector<Finding>> check_firewall(std::string_view ruleset) {
  const auto answer = nlohmann::json::parse(ruleset, nullptr, false);
  if (!answer.is_object() || !answer.contains("nftables") || !answer["nftables"].is_array())
    return std::nullopt;
  // The names of base chains, with their hooks.
  std::vector<std::pair<std::string, std::string>> accepting;
  std::vector<Finding> findings;
  const auto add = [&](const std::string& chain, const std::string& hook, std::string_view what) {
    findings.push_back(
        {Verdict::note, "firewall",
         fmt::format("chain '{0}' {1} ({2}), and so a gate's connections; let the interface in: 'nft insert "
                     "rule {0} {3} NAME accept'",
                     chain, what, hook, hook == "output" ? "oifname" : "iifname")});
  };
  for (const auto& object : answer["nftables"]) {
    if (const auto chain = object.find("chain"); chain != object.end() && chain->is_object()) {
      const std::string hook = chain->value("hook", "");
      if (chain->value("policy", "") == "drop")
        add(name_of(*chain, "name"), hook, "drops what no rule accepts");
      else if (hook == "input" || hook == "output")
        accepting.emplace_back(name_of(*chain, "name"), hook);
    }
    const auto rule = object.find("rule");
    if (rule == object.end() || !rule->is_object() || !drops_everything(*rule)) continue;
    const std::string name = name_of(*rule, "chain");
    const auto found = std::ranges::find(accepting, name, &std::pair<std::string, std::string>::first);
    if (found != accepting.end()) add(name, found->second, "has a rule that drops or rejects the rest");
  }
  if (findings.empty()) findings.push_back({Verdict::ok, "firewall", "no chain drops by default"});
  return findings;
}

int run_doctor(const std::string& text) {
  std::optional<PortConfig> port;
  if (!text.empty()) {
    const PortConfigResult parsed = PortConfig::parse(text);
    if (!parsed.config)
      throw Failure{status::usage,
                    "PORT '" + text + "' " + to_string(parsed.error) + "; see 'tunport host --help'"};
    port = parsed.config;
  }
  const User user = this_user();
  std::error_code ec;
  // Attaching to an interface that does not exist opens the driver's device, and touches nothing.
  Device::open(DeviceKind::tun, "tunport-doctor0", {.mode = OpenMode::attach}, linux_system(), ec);
  std::vector<Finding> findings{check_driver(ec)};
  const bool has_driver = findings.front().verdict == Verdict::ok;
  const Trial trial = has_driver ? try_in_a_namespace() : Trial{.failure = "not tried, without the driver"};
  std::optional<Finding> of_port;
  bool is_prepared = false;
  if (port) {
    const auto link = linux_system().links.find(port->name, ec);
    of_port = check_port(*port, link, link ? holders_of(port->name) : std::vector<Holder>{}, user);
    is_prepared = link && of_port->verdict == Verdict::ok;
  }
  const auto add = [&](std::vector<Finding> more) { std::ranges::move(more, std::back_inserter(findings)); };
  add(check_ways(user, trial, is_prepared));
  add(check_offload(trial));
  if (of_port) findings.push_back(*of_port);
  findings.push_back(check_rp_filter(port ? port->name : "default", read_sysctl));
  add(look_at_firewall(user));
  print(STDOUT_FILENO, to_report(findings));
  const bool is_able = std::ranges::find(findings, Verdict::missing, &Finding::verdict) == findings.end();
  return is_able ? 0 : status::failed;
}

}  // namespace tunport::tool
