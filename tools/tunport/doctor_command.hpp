#pragma once
/// `tunport doctor`: can this machine and this user do it?

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tunport/port/port_config.hpp"

#include "list_command.hpp"
#include "sandbox.hpp"

namespace tunport::tool {

enum class Verdict : std::uint8_t {
  ok,
  note,     ///< works, with a limit
  missing,  ///< needed, and not there
};

/// A line of the report.
struct Finding {
  Verdict verdict = Verdict::ok;
  std::string subject;
  std::string text;  ///< the cause, and the remedy behind a semicolon
  bool operator==(const Finding&) const = default;
};

/// "ok       /dev/net/tun: ..." for each, in columns.
std::string to_report(const std::vector<Finding>& findings);

/// What a try in a network namespace of its own has found.
struct Trial {
  std::string failure = {};  ///< why there was no device; empty after a success
  std::string offload = {};  ///< the granted features: "checksum+tso4+tso6+ecn+uso"
  bool tunnels = false;      ///< UDP tunnel super-packets (TUN_F_UDP_TUNNEL_GSO, Linux 6.17)
};

/// This user's rights.
struct User {
  std::uint32_t uid = 0;
  std::vector<std::uint32_t> groups = {};
  bool may_make = false;  ///< CAP_NET_ADMIN
};

/// The device of the driver.
Finding check_driver(const std::error_code& found);
/// The ways to an interface: privilege, or a namespace of the user's own. Missing only without both.
std::vector<Finding> check_ways(const User& user, const Trial& trial, bool is_port_prepared);
/// What kernel and program can leave to each other.
std::vector<Finding> check_offload(const Trial& trial);
/// The interface of `port`, among those that exist.
Finding check_port(const PortConfig& port, const std::optional<LinkInfo>& link,
                   const std::vector<Holder>& holders, const User& user);
/// rp_filter of the interface, the stricter of its own and of all.
Finding check_rp_filter(const std::string& interface, const ReadSysctl& read);
/// The chains that drop by default in the answer of `nft -j list ruleset`; nothing if the answer is no such
/// text.
std::optional<std::vector<Finding>> check_firewall(std::string_view ruleset);

/// Runs `tunport doctor`. `port`: as typed, or empty. Returns the exit status.
int run_doctor(const std::string& port);

}  // namespace tunport::tool
