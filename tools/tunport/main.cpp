#include <algorithm>
#include <new>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/host/host.hpp"

#include "doctor_command.hpp"
#include "explain.hpp"
#include "failure.hpp"
#include "gate_command.hpp"
#include "host_command.hpp"
#include "list_command.hpp"
#include "output.hpp"

namespace tunport::tool {
namespace {

constexpr auto description = "Puts a program behind a Linux TUN/TAP interface.";

constexpr auto footer =
    "Try, without any privilege, in a network namespace of its own:\n"
    "  tunport host tap:tp0 --interface-address 10.77.0.1/24 --host-address 10.77.0.2 --sandbox \\\n"
    "    -- ping -c 5 -i 0.2 10.77.0.2\n"
    "\n"
    "'tunport host --help' tells of its options and of how PORT is written.";

constexpr auto list_description = "The TUN/TAP interfaces that exist here.";
constexpr auto list_footer =
    "A line for each interface: kind, state, MTU, queues of a multi-queue device, flags (multi_queue, "
    "vnet_hdr,\n"
    "persist, pi), owner, group, packets dropped for want of a reader, the process that has it open, "
    "addresses.\n"
    "Processes of other users are seen by root only.";

constexpr auto doctor_description = "Tells whether this machine and this user can do it.";
constexpr auto doctor_footer =
    "A line for each condition, with the remedy: the driver and its device, privilege and namespaces, "
    "offload,\n"
    "the interface of PORT (tap:NAME or tun:NAME), rp_filter and a firewall that would drop packets. Nothing "
    "is\n"
    "changed; a trial is made in a network namespace of its own.\n"
    "\n"
    "Exit status:\n"
    "  0  nothing that is needed is missing\n"
    "  1  something is";

constexpr auto gate_description =
    "TCP of any destination behind an interface, accepted and led to where it was meant to go.";

constexpr auto gate_footer =
    "It runs until SIGINT or SIGTERM, or for as long as COMMAND runs; then it sums up.\n"
    "\n"
    "A connection that is routed into the interface is accepted once the connection outside stands; where\n"
    "that is refused or unreachable, so is the client's. PORT is tun:NAME, with the options of 'tunport "
    "host'.\n"
    "\n"
    "With --sandbox, COMMAND has the network of the machine, without root: a network namespace of its own "
    "with\n"
    "the interface (10.0.2.100/24), a default route, and a name server. 10.0.2.2 stands for the machine.\n"
    "\n"
    "DESTINATION of --map is an address or prefix or '*', with ':PORT' behind if wanted, IPv6 with a port "
    "in\n"
    "brackets; TARGET is ADDRESS:PORT, or refuse, unreachable, prohibited, drop. The first that matches "
    "counts.\n"
    "Of --allow and --deny the longest prefix counts.\n"
    "\n"
    "With --to a proxy, names in a sandbox are the proxy's to find: the name server is --dns fake, unless "
    "given\n"
    "otherwise. An HTTP proxy has no UDP: it is refused. HOST is an address, IPv6 in brackets, or a name, "
    "which "
    "is\n"
    "looked up once; other characters of USER and PASSWORD than letters and digits are written as %XX. The "
    "command\n"
    "line of a process is open to other users of the machine. Pings, which no proxy takes, are prohibited.\n"
    "\n"
    "Examples:\n"
    "  tunport gate tun:t0 --sandbox -- curl https://example.org/\n"
    "  tunport gate tun:t0 --sandbox --map 203.0.113.7:80=127.0.0.1:8080 --map '*:25=refuse' -- ./test\n"
    "  tunport gate tun:t0 --sandbox --to socks5://127.0.0.1:1080 -- curl https://example.org/\n"
    "  tunport gate tun:t0 --sandbox --publish 8080:80 -- ./server\n"
    "  tunport gate tun:t0 --interface-address 10.0.2.100/24 --route 198.51.100.0/24 --log gate.log\n"
    "\n"
    "Exit status:\n"
    "  COMMAND's own  128+N if signal N killed it, 127 if it is not found, 126 if it cannot be run\n"
    "  0              after SIGINT or SIGTERM, without COMMAND\n"
    "  1              for a failure, also if the interface is deleted meanwhile\n"
    "  2              for wrong usage";

constexpr auto host_description =
    "A small host behind an interface: it answers ARP, neighbor discovery, ping and UDP.";

constexpr auto host_footer =
    "It runs until SIGINT or SIGTERM, or for as long as COMMAND runs; then it sums up.\n"
    "\n"
    "PORT is the kind and the name of an interface; options follow after commas:\n"
    "  tap:NAME       an interface that carries Ethernet frames\n"
    "  tun:NAME       an interface that carries IP packets\n"
    "                 NAME may hold %d: tap:tp%d is the first of tp0, tp1, ... that is free\n"
    "  ,mode=either   attach to it if it is there, create it otherwise (default)\n"
    "  ,mode=create   create it; a failure if it is there\n"
    "  ,mode=attach   attach to it; a failure if it is not there ('ip tuntap add ... user USER' prepares "
    "one)\n"
    "  ,fd=NUMBER     take it from a descriptor that was opened by somebody else and inherited: --fd NUMBER\n"
    "  ,mtu=BYTES     set its MTU; likewise ,mac=ADDRESS (TAP), ,txqueuelen=PACKETS, and "
    ",address=ADDRESS/LENGTH\n"
    "                 as often as needed, which is --interface-address; it is set up in any case (,up)\n"
    "  ,napi          the kernel takes our packets by NAPI; ,backpressure  a full queue stops the senders "
    "(Linux 7.3)\n"
    "  ,vnethdr=SIZE  of the virtio header: 10, 12, 20 or 24\n"
    "  ,netns=NAME    in that network namespace ('ip netns add NAME'); COMMAND stays outside\n"
    "  ,offload=auto  exchange super-packets with the kernel (default); off: none; or some of\n"
    "                 checksum+tso4+tso6+ecn+uso\n"
    "  ,spin=TIME     look for packets that long before sleeping: 50us, 1ms; answers sooner, keeps a core "
    "busy\n"
    "  ,moderation=TIME  sleep that long after packets, and take what came meanwhile together: less "
    "computing,\n"
    "                 later answers; not with spin\n"
    "\n"
    "Examples:\n"
    "  tunport host tap:tp0 --interface-address 10.77.0.1/24 --host-address 10.77.0.2 --sandbox \\\n"
    "    -- ping -c 5 10.77.0.2\n"
    "  tunport host tun:tp0,mtu=9000 --interface-address 10.77.0.1/24 --host-address 10.77.0.2 10.77.0.3 \\\n"
    "    --udp-echo 7 4242 --json\n"
    "\n"
    "Exit status:\n"
    "  COMMAND's own  128+N if signal N killed it, 127 if it is not found, 126 if it cannot be run\n"
    "  0              after SIGINT or SIGTERM, without COMMAND\n"
    "  128+N          after another signal N that asks it to end (SIGHUP, SIGQUIT, SIGUSR1, ...)\n"
    "  1              for a failure, also if the interface is deleted meanwhile\n"
    "  2              for wrong usage\n"
    "\n"
    "While COMMAND runs, signals are passed on to it. Where it has become another user, by sudo say, tunport "
    "tells\n"
    "so and ends without it.\n"
    "\n"
    "Where NOTIFY_SOCKET is set, as by systemd, READY=1 is sent once the port is up.\n"
    "\n"
    "Whatever ends it, a device that was there before is left as it was. Only after SIGKILL, SIGSEGV, "
    "SIGBUS,\n"
    "SIGFPE, SIGILL and the C library's own signals 32 and 33 it is not. An MTU below 1280 takes the "
    "interface's\n"
    "IPv6 settings (sysctl net.ipv6.conf.NAME) with it.";

/// CLI11's help, with usage lines of our own.
class Help : public CLI::Formatter {
 public:
  Help() { column_width(34); }
  std::string make_usage(const CLI::App* app, std::string /*name*/) const override {
    if (app->get_name() == "host")
      return "\nUsage: tunport host PORT --interface-address CIDR... --host-address ADDRESS...\n"
             "                    [--every-address] [--advertise-prefix CIDR] [--dhcp] [--mac MAC]\n"
             "                    [--udp-echo PORT...] [--fd NUMBER] [--user NAME | --privileged]\n"
             "                    [--sandbox] [--metrics FILE] [--json] [--quiet] [--verbose]\n"
             "                    [-- COMMAND ARG...]\n"
             "       tunport host --explain REASON\n";
    if (app->get_name() == "gate")
      return "\nUsage: tunport gate PORT [--interface-address CIDR...] [--route CIDR...]\n"
             "                    [--map DESTINATION=TARGET...] [--allow CIDR...] [--deny CIDR...]\n"
             "                    [--to direct|socks5://...|http://...] [--dns ADDRESS|fake|off]\n"
             "                    [--allow-host-loopback] [--sandbox]\n"
             "                    [--publish [ADDRESS:]PORT[:PORT][/udp]...]\n"
             "                    [--log FILE] [--json] [--quiet] [-- COMMAND ARG...]\n";
    if (app->get_name() == "list") return "\nUsage: tunport list [--json]\n";
    if (app->get_name() == "doctor") return "\nUsage: tunport doctor [PORT]\n";
    return "\nUsage: tunport host PORT OPTION... [-- COMMAND ARG...]\n"
           "       tunport gate PORT OPTION... [-- COMMAND ARG...]\n"
           "       tunport list [--json]\n"
           "       tunport doctor [PORT]\n"
           "       tunport VERB --help\n";
  }
  std::string make_subcommand(const CLI::App* verb) const override {
    return fmt::format("  {:<8}{}\n", verb->get_name(), verb->get_description());
  }
  std::string make_positionals(const CLI::App* /*app*/) const override { return {}; }
};

void add_host_options(CLI::App& verb, HostArguments& host) {
  verb.footer(host_footer)->group("Verbs");
  verb.add_option("PORT", host.port);
  verb.add_option("--interface-address", host.interface_addresses,
                  "Addresses of the kernel's side, with their prefix length")
      ->option_text("CIDR...");
  verb.add_option("--host-address", host.host_addresses, "Addresses that are answered by us, IPv4 and IPv6")
      ->option_text("ADDRESS...");
  verb.add_flag("--every-address", host.every_address,
                "Take CIDR values of --host-address, as 10.77.0.0/16: every address of the prefix is "
                "answered by us, but for "
                "the interface's own");
  verb.add_option(
          "--advertise-prefix", host.advertise_prefix,
          "Advertise an IPv6 prefix (/64), so that the kernel's side makes an address of its own (TAP)")
      ->option_text("CIDR");
  verb.add_flag(
      "--dhcp", host.dhcp,
      "Lease addresses of the first host address's subnet (the interface's, else a /24) by DHCP (TAP); "
      "--interface-address may be left out");
  verb.add_option("--mac", host.mac,
                  "Our MAC address (TAP; default: made from the first host address and PORT's name)")
      ->option_text("MAC");
  verb.add_option(
          "--udp-echo", host.udp_echo,
          "UDP ports that send back what they receive, unless it comes from such a port, or from 7, 13, 17, "
          "19 or 37: two services would go on for ever")
      ->option_text("PORT...");
  verb.add_option("--fd", host.fd,
                  "Take PORT's device from a descriptor that was opened by somebody else and inherited")
      ->option_text("NUMBER");
  verb.add_option(
          "--user", host.user,
          "The user who serves the packets, as root (default: nobody); COMMAND is run as the user who "
          "called sudo")
      ->option_text("NAME");
  verb.add_flag("--privileged", host.privileged,
                "Keep user, capabilities and system calls while serving packets, and run COMMAND with them");
  verb.add_flag("--sandbox", host.sandbox,
                "All of it in a new network namespace with a /sys of its own (not as root: in a new user "
                "namespace too)");
  verb.add_option("--metrics", host.metrics,
                  "Keep the counters in a file for Prometheus (node_exporter's textfile collector), replaced "
                  "every 5 s and at the end")
      ->option_text("FILE");
  verb.add_flag("--json", host.json,
                "Sum up as JSON, the last line on stdout; COMMAND's stdout goes to stderr");
  verb.add_flag("--quiet", host.quiet, "Say nothing but errors (and JSON, if asked for)");
  verb.add_flag("--verbose", host.verbose,
                "Print a line for each event of the interface: up, down, renamed, MTU changed, ...");
  verb.add_option("--explain", host.explain,
                  "Print what a reason for drops in the summary means, and exit; all: each of them")
      ->option_text("REASON");
}

void add_gate_options(CLI::App& verb, GateArguments& gate) {
  verb.footer(gate_footer)->group("Verbs");
  verb.add_option("PORT", gate.port);
  verb.add_option("--interface-address", gate.interface_addresses,
                  "Addresses of the kernel's side, with their prefix length (default with --sandbox: "
                  "10.0.2.100/24, and fd00:2::100/64 where the machine has IPv6)")
      ->option_text("CIDR...");
  verb.add_option("--route", gate.routes,
                  "Destinations that are routed into the interface (default with --sandbox: all)")
      ->option_text("CIDR...");
  verb.add_option("--map", gate.maps, "Lead connections elsewhere, or refuse them; repeatable")
      ->option_text("DESTINATION=TARGET...");
  verb.add_option(
          "--publish", gate.published,
          "Ports of the sandbox's loopback that are open outside, TCP unless '/udp'; without ADDRESS at "
          "127.0.0.1, with 0.0.0.0 to everybody; the second PORT is the sandbox's")
      ->option_text("[ADDRESS:]PORT[:PORT][/udp]...");
  verb.add_option("--allow", gate.allowed, "Destinations to be let through, out of those of --deny")
      ->option_text("CIDR...");
  verb.add_option("--deny", gate.denied, "Destinations that are prohibited")->option_text("CIDR...");
  verb.add_option("--to", gate.to,
                  "The way of connections: direct (default), socks5://[USER:PASSWORD@]HOST:PORT or "
                  "http://[USER:PASSWORD@]HOST:PORT; mapped ones and 10.0.2.2 are direct in any case")
      ->option_text("UPSTREAM");
  verb.add_option("--dns", gate.dns,
                  "The name server of the sandbox (default: 10.0.2.3, which asks the machine's); off: none; "
                  "fake, the default with a proxy: 10.0.2.3 answers with addresses of 198.18.0.0/15, and the "
                  "proxy gets the names")
      ->option_text("ADDRESS|fake|off");
  verb.add_flag("--allow-host-loopback", gate.allow_host_loopback,
                "10.0.2.2 leads to the machine's own loopback, 127.0.0.1");
  verb.add_flag("--sandbox", gate.sandbox,
                "COMMAND in new user, mount and network namespaces, with the interface inside");
  verb.add_option("--log", gate.log, "Append a line of JSON for each connection that has ended")
      ->option_text("FILE");
  verb.add_flag("--json", gate.json,
                "Sum up as JSON, the last line on stdout; COMMAND's stdout goes to stderr");
  verb.add_flag("--quiet", gate.quiet, "Say nothing but errors (and JSON, if asked for)");
}

/// The complaint of CLI11, in a line.
std::string describe(const CLI::App& app, const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    if (const auto unknown = app.remaining(true); !unknown.empty())
      return fmt::format("'{}' is not known {}", unknown.front(),
                         app.get_subcommands().empty()
                             ? "as a verb; there are 'host', 'gate', 'list' and 'doctor'"
                         : app.get_subcommands().front()->get_name() == "host" ||
                                 app.get_subcommands().front()->get_name() == "gate"
                             ? "here (COMMAND stands behind '--')"
                             : "here");
  std::string text = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
    return text.substr(0, text.find(':')) + ": a value is missing, or one too many";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

int run(std::vector<std::string> arguments) {
  HostArguments host;
  // The words behind the first "--" are COMMAND's, whatever their looks.
  const auto dashes = std::ranges::find(arguments, "--");
  if (dashes != arguments.end()) {
    host.command.assign(dashes + 1, arguments.end());
    if (host.command.empty()) throw usage_failure("COMMAND is missing behind '--'");
    arguments.erase(dashes, arguments.end());
  }

  CLI::App app{description, "tunport"};
  app.formatter(std::make_shared<Help>());
  app.set_help_flag("-h,--help", "Print this and exit");
  app.set_version_flag("--version", "tunport " TUNPORT_VERSION, "Print the version and exit");
  app.footer(footer);
  CLI::App* const verb = app.add_subcommand("host", host_description);
  add_host_options(*verb, host);
  GateArguments gate;
  CLI::App* const gate_verb = app.add_subcommand("gate", gate_description);
  add_gate_options(*gate_verb, gate);
  CLI::App* const list = app.add_subcommand("list", list_description);
  list->footer(list_footer)->group("Verbs");
  bool list_json = false;
  list->add_flag("--json", list_json, "As JSON, in one line");
  CLI::App* const doctor = app.add_subcommand("doctor", doctor_description);
  doctor->footer(doctor_footer)->group("Verbs");
  std::string doctor_port;
  doctor->add_option("PORT", doctor_port);

  std::ranges::reverse(arguments);  // as CLI11 wants them
  try {
    app.parse(arguments);
  } catch (const CLI::CallForVersion& version) {
    print(STDOUT_FILENO, std::string{version.what()} + '\n');
    return 0;
  } catch (const CLI::CallForHelp&) {
    print(STDOUT_FILENO, app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto verbs = app.get_subcommands();
    throw Failure{status::usage, fmt::format("{}; see 'tunport {}--help'", describe(app, error),
                                             verbs.empty() ? "" : verbs.front()->get_name() + ' ')};
  }
  if (*list || *doctor) {
    if (!host.command.empty())
      throw Failure{status::usage, fmt::format("{} runs no COMMAND; leave '--' and what follows out",
                                               *list ? "list" : "doctor")};
    return *list ? run_list(list_json) : run_doctor(doctor_port);
  }
  if (*gate_verb) {
    if (gate.port.empty())
      throw Failure{status::usage,
                    "PORT is missing: tun:NAME, right after 'gate'; see 'tunport gate --help'"};
    gate.command = std::move(host.command);
    return run_gate(make_gate_plan(gate, look_around()));
  }
  if (!*verb)
    throw Failure{status::usage, "what to do is missing, such as 'tunport host'; see 'tunport --help'"};
  if (host.explain) {
    print(STDOUT_FILENO, explain(*host.explain));
    return 0;
  }
  if (host.port.empty()) throw usage_failure("PORT is missing: tap:NAME or tun:NAME, right after 'host'");
  return run_host(make_plan(host));
}

}  // namespace
}  // namespace tunport::tool

int main(int argc, char** argv) {
  using namespace tunport::tool;  // NOLINT(google-build-using-namespace)
  ensure_standard_descriptors();
  tunport::set_log_sink([](tunport::LogLevel level, std::string_view who, std::string_view what) {
    if (level >= tunport::LogLevel::warning) print_error(fmt::format("{}: {}", who, what));
  });
  try {
    return run({argv + std::min(argc, 1), argv + argc});
  } catch (const Failure& failure) {
    print_error(failure.what());
    return failure.status();
  } catch (const tunport::Error& error) {  // with a remedy
    print_error(error.what());
    return status::failed;
  } catch (const std::system_error& error) {  // Asio's, say
    const auto remedy = tunport::remedy(tunport::errno_code(error.code().value()));
    print_error(error.what() + (remedy.empty() ? std::string{} : fmt::format("; {}", remedy)));
    return status::failed;
  } catch (const std::bad_alloc&) {
    print_error("there is too little memory; end something else, or raise the limit ('ulimit -v')");
    return status::failed;
  } catch (const std::exception& error) {
    print_error(error.what());
    return status::failed;
  }
}
