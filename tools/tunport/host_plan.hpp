#pragma once
/// The task of `tunport host`: the words of the command line, and their meaning.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tunport/port/port_config.hpp"
#include "tunport/wire/address.hpp"

#include "account.hpp"

namespace tunport::tool {

/// As typed.
struct HostArguments {
  std::string port;
  std::vector<std::string> interface_addresses;
  std::vector<std::string> host_addresses;
  bool every_address = false;
  std::optional<std::string> advertise_prefix;
  bool dhcp = false;
  std::optional<std::string> mac;
  std::vector<std::string> udp_echo;
  std::optional<int> fd;
  std::string metrics;
  std::optional<std::string> user;
  bool privileged = false;
  bool sandbox = false;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::optional<std::string> explain;  ///< the name of a reason; nothing else is done then
  std::vector<std::string> command;
};

/// As meant.
struct HostPlan {
  PortConfig port;
  std::vector<IpPrefix> interface_addresses;
  std::vector<IpAddress> host_addresses;
  std::vector<IpPrefix> host_prefixes;  ///< with `--every-address`: every address is the host's
  std::optional<IpPrefix> advertise_prefix;
  std::optional<IpPrefix> dhcp;  ///< the subnet of the leases
  std::optional<MacAddress> mac;
  std::vector<std::uint16_t> udp_echo;
  std::string metrics;             ///< the file for the counters; empty: none
  std::optional<int> fd;           ///< of the device, opened by somebody else
  Account user;                    ///< as whom the worker serves
  bool user_is_asked_for = false;  ///< else nobody, where possible
  bool privileged = false;         ///< the worker keeps what it has, and COMMAND too
  bool sandbox = false;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::vector<std::string> command;
};

/// Throws `Failure` (wrong usage) with the wrong part and a right one.
HostPlan make_plan(const HostArguments& arguments);

}  // namespace tunport::tool
