#include "host_plan.hpp"

#include <algorithm>
#include <charconv>

#include "tunport/wire/ipv6.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

// These options take several values, and so a COMMAND right behind the values.
std::string or_command(const std::string& problem) { return problem + " (COMMAND stands behind '--')"; }

[[noreturn]] void wrong(const std::string& option, const std::string& value, const std::string& problem) {
  throw usage_failure(option + " '" + value + "': " + problem);
}

template <class Value>
void add_once(std::vector<Value>& values, const Value& value) {
  if (std::ranges::find(values, value) == values.end()) values.push_back(value);
}

IpPrefix interface_address(const std::string& text) {
  const std::string option = "--interface-address";
  const auto prefix = IpPrefix::parse(text);
  if (!prefix) {
    if (IpAddress::parse(text))
      wrong(option, text, "the prefix length is missing; write " + text + "/LENGTH");
    wrong(option, text, or_command("no address with a prefix length, such as 10.77.0.1/24"));
  }
  if (prefix->address.is_v4() ? !is_single_host(prefix->address.v4())
                              : prefix->address.v6().is_unspecified() || prefix->address.v6().is_multicast())
    wrong(option, text, "not an address that an interface can have");
  // RFC 3021: the smallest subnets have neither.
  if (prefix->address.is_v4() && prefix->length <= 30 &&
      (prefix->address == prefix->network_v4() || prefix->address == prefix->broadcast_v4()))
    wrong(option, text,
          "the network's or broadcast address; give one between them, such as " +
              to_string(IpPrefix{Ipv4Address{prefix->network_v4().value() + 1}, prefix->length}));
  return *prefix;
}

/// True for an address that a single host on a link can have.
bool is_host(const IpAddress& address) {
  if (address.is_v4()) return is_single_host(address.v4());
  return !address.is_unspecified() && !address.is_multicast() && to_string(address) != "::1";
}

IpAddress host_address(const std::string& text, const std::vector<IpPrefix>& interface_addresses) {
  const std::string option = "--host-address";
  const auto address = IpAddress::parse(text);
  if (!address) {
    if (const auto prefix = IpPrefix::parse(text))
      wrong(option, text,
            "a prefix length has a meaning with --every-address only; write " + to_string(prefix->address));
    wrong(option, text, or_command("no IP address, such as 10.77.0.2"));
  }
  if (!is_host(*address)) wrong(option, text, "not an address that a single host can have");
  for (const IpPrefix& prefix : interface_addresses) {
    if (prefix.address == *address)
      wrong(option, text, "the interface has this address; give the host another of " + to_string(prefix));
    if (!prefix.address.is_v4() || !address->is_v4() || prefix.length > 30) continue;
    if (address->v4() == prefix.broadcast_v4() || address->v4() == prefix.network_v4())
      wrong(option, text,
            "the network's or broadcast address of " + to_string(prefix) + "; give another of it");
  }
  return *address;
}

/// With `--every-address`: a prefix, of which the host has every address.
IpPrefix host_prefix(const std::string& text) {
  const std::string option = "--host-address";
  const auto prefix = IpPrefix::parse(text);
  if (!prefix) {
    if (IpAddress::parse(text))
      wrong(option, text, "--every-address needs a prefix length; write " + text + "/LENGTH");
    wrong(option, text, or_command("no prefix, such as 10.77.0.0/16"));
  }
  if (prefix->address.is_multicast()) wrong(option, text, "no prefix of hosts, but of groups");
  return *prefix;
}

IpPrefix advertised_prefix(const std::string& text) {
  const auto prefix = IpPrefix::parse(text);
  if (!prefix || prefix->address.is_v4())
    wrong("--advertise-prefix", text, "no IPv6 prefix, such as fd00:1::/64");
  if (prefix->length != 64)
    wrong("--advertise-prefix", text, "stations make addresses in a /64 only (RFC 4862)");
  if (prefix->address.is_multicast()) wrong("--advertise-prefix", text, "no prefix of hosts, but of groups");
  return *prefix;
}

/// The subnet of the host's first IPv4 address: of the interface, else a /24.
IpPrefix leased_subnet(const HostPlan& plan) {
  if (plan.port.kind == DeviceKind::tun)
    throw usage_failure("--dhcp: a TUN has no stations with MAC addresses; leave it out, or use tap:" +
                        plan.port.name);
  const auto host =
      std::ranges::find_if(plan.host_addresses, [](const IpAddress& address) { return address.is_v4(); });
  if (host == plan.host_addresses.end())
    throw usage_failure("--dhcp: the server needs an IPv4 address: --host-address 10.77.0.2");
  for (const IpPrefix& prefix : plan.interface_addresses)
    if (prefix.contains(*host)) return prefix;
  return {*host, 24};
}

MacAddress mac_address(const std::string& text) {
  const auto mac = MacAddress::parse(text);
  if (!mac) wrong("--mac", text, "no MAC address, such as 02:00:00:00:00:02");
  if (mac->is_multicast() || *mac == MacAddress{})
    wrong("--mac", text,
          "not a MAC address that a single host can have; its first byte must be even, as in 02:...");
  return *mac;
}

std::uint16_t udp_port(const std::string& text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || stop != end || port == 0)
    wrong("--udp-echo", text, or_command("no UDP port; it is a number from 1 to 65535"));
  return port;
}

/// Nobody's number on every Linux, for a system without the name.
constexpr uid_t overflow_id = 65534;

void plan_privileges(HostPlan& plan, const HostArguments& arguments) {
  plan.privileged = arguments.privileged;
  plan.user_is_asked_for = arguments.user.has_value();
  if (plan.privileged && plan.user_is_asked_for)
    throw usage_failure("--user and --privileged exclude each other; leave one of them out");
  const std::string name = arguments.user.value_or("nobody");
  const auto account = find_account(name);
  if (!account && plan.user_is_asked_for)
    wrong("--user", name, "there is no such user; 'getent passwd' lists them");
  plan.user = account.value_or(Account{overflow_id, overflow_id, name, "/", {overflow_id}});
}

}  // namespace

HostPlan make_plan(const HostArguments& arguments) {
  HostPlan plan;
  const auto parsed = PortConfig::parse(arguments.port);
  if (!parsed.config) throw usage_failure("port '" + arguments.port + "': " + to_string(parsed.error));
  plan.port = *parsed.config;
  for (const IpPrefix& address : plan.port.interface.addresses) add_once(plan.interface_addresses, address);
  for (const auto& text : arguments.interface_addresses)
    add_once(plan.interface_addresses, interface_address(text));
  for (const auto& text : arguments.host_addresses) {
    if (arguments.every_address && !IpAddress::parse(text))
      add_once(plan.host_prefixes, host_prefix(text));
    else
      add_once(plan.host_addresses, host_address(text, plan.interface_addresses));
  }
  if (plan.interface_addresses.empty() && !arguments.dhcp)
    throw usage_failure("--interface-address is missing: the kernel's side, such as 10.77.0.1/24");
  if (arguments.every_address && plan.host_prefixes.empty() && !plan.host_addresses.empty())
    host_prefix(arguments.host_addresses.front());
  if (plan.host_addresses.empty() && plan.host_prefixes.empty())
    throw usage_failure("--host-address is missing: what we answer for, such as 10.77.0.2");
  if (arguments.dhcp) plan.dhcp = leased_subnet(plan);
  if (arguments.advertise_prefix) {
    if (plan.port.kind == DeviceKind::tun)
      wrong("--advertise-prefix", *arguments.advertise_prefix,
            "a TUN has no stations that make addresses; leave it out, or use tap:" + plan.port.name);
    plan.advertise_prefix = advertised_prefix(*arguments.advertise_prefix);
  }
  if (arguments.mac) {
    if (plan.port.kind == DeviceKind::tun)
      wrong("--mac", *arguments.mac,
            "a TUN has no MAC addresses; leave it out, or use tap:" + plan.port.name);
    plan.mac = mac_address(*arguments.mac);
  }
  for (const auto& text : arguments.udp_echo) add_once(plan.udp_echo, udp_port(text));
  for (const IpPrefix& prefix : plan.interface_addresses)
    if (prefix.address.is_v6() && plan.port.interface.mtu.value_or(least_ipv6_mtu) < least_ipv6_mtu)
      wrong("--interface-address", to_string(prefix),
            "IPv6 needs an MTU of 1280 or more; raise mtu= in the port");
  plan_privileges(plan, arguments);
  plan.sandbox = arguments.sandbox;
  plan.json = arguments.json;
  plan.quiet = arguments.quiet;
  plan.verbose = arguments.verbose;
  plan.fd = arguments.fd ? arguments.fd : plan.port.fd;
  if (plan.port.fd && plan.fd != plan.port.fd)
    wrong("--fd", std::to_string(*plan.fd),
          "the port has fd=" + std::to_string(*plan.port.fd) + "; leave one of them out");
  plan.port.fd.reset();  // adopted before the port is made
  plan.metrics = arguments.metrics;
  if (plan.fd && *plan.fd < 3)
    wrong("--fd", std::to_string(*plan.fd), "no descriptor of a device; it is a number from 3 on");
  if (plan.fd &&
      (plan.port.mode != OpenMode::either || !plan.port.network_namespace.empty() || arguments.sandbox))
    throw usage_failure("--fd is for a device that is open already; leave mode=, netns= and --sandbox out");
  if (plan.fd && (plan.port.napi || plan.port.backpressure || plan.port.virtio_header_size))
    throw usage_failure(
        "--fd is for a device that is open already; leave napi, backpressure and vnethdr= out");
  if (plan.quiet && plan.verbose)
    throw usage_failure("--quiet and --verbose contradict each other; leave one out");
  plan.command = arguments.command;
  return plan;
}

}  // namespace tunport::tool
