#pragma once
/// Where a connection through `tunport gate` leads.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tunport/gate/gate_options.hpp"
#include "tunport/wire/address.hpp"

namespace tunport::tool {

/// The way to a destination that is not refused.
enum class GateWay : std::uint8_t {
  upstream,  ///< as `--to` has it: by this machine, or by a proxy
  direct,    ///< by this machine in any case: what a map, the gateway or the machine's resolver stands for
  names,     ///< to the gate's own name server, by UDP; otherwise refused
};

/// What becomes of a connection: made to `endpoint`, or refused.
struct GateTarget {
  Endpoint endpoint;
  std::optional<GateRefusal> refusal = {};
  GateWay way = GateWay::upstream;
  bool operator==(const GateTarget&) const = default;
};

/// A rule of `--map`: what it matches, and where that leads.
struct GateMapping {
  std::optional<IpPrefix> destination = {};  ///< every address of either family without
  std::optional<std::uint16_t> port = {};    ///< every port without
  std::optional<Endpoint> target = {};       ///< port 0: the port that was asked for
  GateRefusal refusal = GateRefusal::reset;  ///< without a target
  bool operator==(const GateMapping&) const = default;

  /// "203.0.113.7:80=127.0.0.1:8080", "[2001:db8::/32]:80=...", "*:25=refuse", "10.0.0.0/8=drop". The targets
  /// besides an endpoint are refuse, unreachable, prohibited and drop. Otherwise nothing, and `problem` says
  /// what is wrong.
  static std::optional<GateMapping> parse(const std::string& text, std::string& problem);
};

/// The rules of a gate, in the order in which they count.
struct GateRules {
  std::vector<GateMapping> maps;     ///< the first that matches
  std::vector<Endpoint> dns;         ///< servers that we are, on port 53
  bool answers_names = false;        ///< `dns` are answered by the gate itself (`--dns fake`)
  std::vector<Endpoint> resolvers;   ///< the machine's, of which the first of the family is asked
  std::vector<IpAddress> gateways;   ///< stand for the machine itself
  bool allow_host_loopback = false;  ///< a gateway leads to the machine's loopback
  std::vector<IpPrefix> allowed;     ///< the longest prefix of both lists decides
  std::vector<IpPrefix> denied;      ///< prohibited
  std::vector<IpPrefix> inside;      ///< subnets of the interface: nobody else is there

  /// Where a connection to `destination` leads.
  GateTarget decide(const Endpoint& destination) const;
};

}  // namespace tunport::tool
