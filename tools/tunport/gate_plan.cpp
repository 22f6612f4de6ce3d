#include "gate_plan.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>
#include <sys/socket.h>

#include "tunport/base/unique_fd.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

constexpr std::uint16_t dns_port = 53;
constexpr unsigned default_mtu = 65'520;

// The addresses of a sandbox, as slirp4netns and QEMU's user network have them.
const IpPrefix sandbox_v4{"10.0.2.100/24"};
const IpPrefix sandbox_v6{"fd00:2::100/64"};
const IpPrefix everywhere_v4{"0.0.0.0/0"};
const IpPrefix everywhere_v6{"::/0"};
const IpPrefix fake_names{"198.18.0.0/15"};
const IpAddress listen_v4{"192.0.0.8"};  // the dummy address of RFC 7600: nobody else has it
const IpAddress listen_v6{"fd00:2::ffff:8"};

[[noreturn]] void wrong(const std::string& option, const std::string& value, const std::string& problem) {
  throw Failure{status::usage, option + " '" + value + "': " + problem + "; see 'tunport gate --help'"};
}

IpPrefix prefix_of(const std::string& option, const std::string& text) {
  if (const auto prefix = IpPrefix::parse(text)) return *prefix;
  if (const auto address = IpAddress::parse(text)) return {*address, address->bits()};
  wrong(option, text, "no address or prefix, such as 10.0.0.0/8 (COMMAND stands behind '--')");
}

/// The address of a subnet with the given host part.
IpAddress host_of(const IpPrefix& subnet, std::uint8_t host) {
  if (subnet.address.is_v4()) return Ipv4Address{subnet.network_v4().value() + host};
  auto octets = subnet.address.v6().octets();
  for (std::size_t bit = subnet.length; bit < 128; ++bit)
    octets[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
  octets[15] = static_cast<std::uint8_t>(octets[15] | host);
  return Ipv6Address{octets};
}

bool has_family(const std::vector<IpPrefix>& prefixes, bool v6) {
  return std::ranges::any_of(prefixes, [v6](const IpPrefix& prefix) { return prefix.address.is_v6() == v6; });
}

/// The gateway and the name server of each subnet: the second and the third address.
void plan_servers(GatePlan& plan, const GateArguments& arguments, const GateSurroundings& surroundings) {
  constexpr unsigned host_bits = 2;
  for (const IpPrefix& subnet : plan.port.interface.addresses) {
    if (subnet.address.bits() - subnet.length < host_bits) continue;
    plan.rules.inside.push_back(subnet);
    const IpAddress gateway = host_of(subnet, 2);
    if (gateway != subnet.address) plan.rules.gateways.push_back(gateway);
    const IpAddress server = host_of(subnet, 3);
    if ((arguments.dns && !plan.fakes_names) || server == subnet.address) continue;
    plan.rules.dns.push_back({server, dns_port});
    plan.nameservers.push_back(server);
  }
  plan.rules.resolvers = surroundings.resolvers;
  plan.rules.answers_names = plan.fakes_names;
  if (plan.fakes_names && plan.rules.dns.empty())
    wrong("--dns", "fake", "the interface's subnet has no room for a name server; a /24 has 'x.x.x.3'");
  if (plan.fakes_names || !arguments.dns || *arguments.dns == "off") return;
  const auto address = IpAddress::parse(*arguments.dns);
  if (!address)
    wrong("--dns", *arguments.dns, "no address of a name server, such as 9.9.9.9, and not 'fake' or 'off'");
  plan.nameservers.push_back(*address);
}

void plan_interface(GatePlan& plan, const GateArguments& arguments, const GateSurroundings& surroundings) {
  std::vector<IpPrefix>& addresses = plan.port.interface.addresses;
  for (const std::string& text : arguments.interface_addresses) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) wrong("--interface-address", text, "no address with a prefix length, such as 10.0.2.100/24");
    addresses.push_back(*prefix);
  }
  if (addresses.empty() && plan.sandbox) {
    addresses.push_back(sandbox_v4);
    if (surroundings.has_v6) addresses.push_back(sandbox_v6);
  }
  if (addresses.empty())
    throw Failure{
        status::usage,
        "--interface-address is missing: the kernel's side, such as 10.0.2.100/24; see 'tunport gate "
        "--help'"};
  std::string part;
  plan.port.interface.up = true;
  if (!plan.port.interface.mtu) plan.port.interface.mtu = default_mtu;
  for (const std::string& text : arguments.routes) plan.routes.push_back(prefix_of("--route", text));
  if (plan.routes.empty() && plan.sandbox) {
    if (has_family(addresses, false)) plan.routes.push_back(everywhere_v4);
    if (has_family(addresses, true)) plan.routes.push_back(everywhere_v6);
  }
  if (plan.fakes_names) {
    if (!has_family(addresses, false))
      wrong("--dns", "fake", "the addresses of names are IPv4; add such an --interface-address");
    const bool is_routed = std::ranges::any_of(plan.routes, [](const IpPrefix& route) {
      return route.length <= fake_names.length && route.contains(fake_names.address);
    });
    if (!is_routed) plan.routes.push_back(fake_names);
  }
  for (const IpPrefix& route : plan.routes) {
    if (!has_family(addresses, route.address.is_v6()))
      wrong("--route", to_string(route),
            "the interface has no address of this family; add --interface-address");
    plan.port.interface.routes.push_back({.destination = route});
  }
  if (const std::error_code ec = check(plan.port.interface, DeviceKind::tun, part); ec)
    throw Failure{status::usage, part + ": " + ec.message()};
  if (has_family(addresses, false)) plan.listen.push_back(listen_v4);
  if (has_family(addresses, true)) plan.listen.push_back(listen_v6);
}

}  // namespace

std::vector<Endpoint> resolvers_in(const std::string& text) {
  std::vector<Endpoint> resolvers;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words{line};
    std::string word;
    std::string address;
    if (!(words >> word >> address) || word != "nameserver") continue;
    if (const auto server = IpAddress::parse(address)) resolvers.push_back({*server, dns_port});
  }
  return resolvers;
}

GateSurroundings look_around() {
  GateSurroundings found;
  std::ifstream file{"/etc/resolv.conf"};
  found.resolvers = resolvers_in({std::istreambuf_iterator<char>{file}, {}});
  // A connected UDP socket sends nothing, and tells whether there is a route.
  const UniqueFd socket{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_storage storage{};
  const unsigned length = Endpoint{IpAddress{"2000::1"}, dns_port}.to_sockaddr(storage);
  found.has_v6 = socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0;
  return found;
}

GatePlan make_gate_plan(const GateArguments& arguments, const GateSurroundings& surroundings) {
  GatePlan plan;
  const auto parsed = PortConfig::parse(arguments.port);
  if (!parsed.config)
    throw Failure{status::usage, "port '" + arguments.port + "': " + to_string(parsed.error) +
                                     "; see 'tunport gate --help'"};
  plan.port = *parsed.config;
  if (plan.port.kind != DeviceKind::tun)
    throw Failure{status::usage,
                  "port '" + arguments.port + "': a gate is for a TUN; write tun:" + plan.port.name};
  plan.sandbox = arguments.sandbox;
  if (plan.sandbox && plan.port.fd)
    throw Failure{
        status::usage,
        "port '" + arguments.port + "': fd is for a device that is open already; leave fd= or --sandbox out"};
  plan.command = arguments.command;
  if (plan.sandbox && plan.command.empty())
    throw Failure{
        status::usage,
        "--sandbox needs a COMMAND, for which the network is; write '-- COMMAND' at the end, such as "
        "'-- sh'"};
  if (plan.sandbox && !plan.port.network_namespace.empty())
    throw Failure{status::usage, "--sandbox makes a network namespace; leave netns= out"};
  std::string problem;
  const auto upstream = Upstream::parse(arguments.to, problem);
  // Without the value, which may hold a password.
  if (!upstream) throw Failure{status::usage, "--to: " + problem + "; see 'tunport gate --help'"};
  plan.upstream = *upstream;
  const bool is_direct = plan.upstream.kind == UpstreamKind::direct;
  if (is_direct && arguments.dns == "fake")
    wrong("--dns", "fake",
          "names need a proxy that finds them; add --to socks5://HOST:PORT or http://HOST:PORT");
  // Otherwise names would be asked of the machine's resolver, beside the proxy.
  plan.fakes_names = !is_direct && (arguments.dns ? *arguments.dns == "fake" : plan.sandbox);
  plan_interface(plan, arguments, surroundings);
  plan_servers(plan, arguments, surroundings);
  for (const std::string& text : arguments.maps) {
    const auto mapping = GateMapping::parse(text, problem);
    if (!mapping) wrong("--map", text, problem);
    plan.rules.maps.push_back(*mapping);
  }
  for (const std::string& text : arguments.allowed) plan.rules.allowed.push_back(prefix_of("--allow", text));
  for (const std::string& text : arguments.denied) plan.rules.denied.push_back(prefix_of("--deny", text));
  for (const std::string& text : arguments.published) {
    const auto port = Published::parse(text, problem);
    if (!port) wrong("--publish", text, problem);
    if (!plan.sandbox)
      wrong("--publish", text,
            "only a sandbox has ports that are not open already; add --sandbox, or leave it out");
    for (const Published& other : plan.published)
      if (other.outside == port->outside && other.is_udp == port->is_udp)
        wrong("--publish", text, "the port is published already");
    plan.published.push_back(*port);
  }
  plan.rules.allow_host_loopback = arguments.allow_host_loopback;
  plan.log = arguments.log;
  plan.json = arguments.json;
  plan.quiet = arguments.quiet;
  return plan;
}

}  // namespace tunport::tool
