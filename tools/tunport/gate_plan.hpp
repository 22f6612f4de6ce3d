#pragma once
/// The task of `tunport gate`: the words of the command line, and their meaning.

#include <optional>
#include <string>
#include <vector>

#include "tunport/port/port_config.hpp"
#include "tunport/wire/address.hpp"

#include "gate_rules.hpp"
#include "publish.hpp"
#include "upstream.hpp"

namespace tunport::tool {

/// As typed.
struct GateArguments {
  std::string port;
  std::vector<std::string> interface_addresses;
  std::vector<std::string> routes;
  std::vector<std::string> maps;
  std::vector<std::string> published;
  std::vector<std::string> allowed;
  std::vector<std::string> denied;
  std::optional<std::string> dns;
  std::string to = "direct";
  bool allow_host_loopback = false;
  bool sandbox = false;
  std::string log;
  bool json = false;
  bool quiet = false;
  std::vector<std::string> command;
};

/// As meant.
struct GatePlan {
  PortConfig port;  ///< with addresses and MTU
  std::vector<IpPrefix> routes;
  GateRules rules;
  std::vector<Published> published;
  Upstream upstream;
  bool fakes_names = false;            ///< `--dns fake`
  std::vector<IpAddress> listen;       ///< in a sandbox: addresses of the loopback for the listeners
  std::vector<IpAddress> nameservers;  ///< in a sandbox: what resolv.conf says
  bool sandbox = false;
  std::string log;
  bool json = false;
  bool quiet = false;
  std::vector<std::string> command;
};

/// What is known of the machine.
struct GateSurroundings {
  bool has_v6 = false;              ///< a way out by IPv6
  std::vector<Endpoint> resolvers;  ///< of /etc/resolv.conf
};
/// Asks this machine.
GateSurroundings look_around();
/// The name servers of the text of a resolv.conf(5), on port 53.
std::vector<Endpoint> resolvers_in(const std::string& text);

/// Throws `Failure` (wrong usage) with the wrong part and a right one.
GatePlan make_gate_plan(const GateArguments& arguments, const GateSurroundings& surroundings);

}  // namespace tunport::tool
