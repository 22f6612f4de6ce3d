#pragma once
/// Gateways of the rows `gate_*`: what gives a program in a network namespace of its own the network of the
/// machine, without a bridge.
///
///   client ---> TUN or TAP | gateway | sockets ---> wire0 ---- veth ---- wire1 ---> server
///       a namespace                        here                     the server's namespace

#include <optional>
#include <string>
#include <vector>

#include "tunport/base/unique_fd.hpp"
#include "tunport/wire/address.hpp"

#include "stage.hpp"

namespace tunport::bench {

/// The address of the servers.
inline constexpr Ipv4Address server_address{0xc6336407};

/// The namespace of the servers, and the veth to it. The end of the object removes both.
class ServerNamespace {
 public:
  ServerNamespace();
  ~ServerNamespace();
  ServerNamespace(const ServerNamespace&) = delete;
  ServerNamespace& operator=(const ServerNamespace&) = delete;
  int fileno() const { return namespace_.get(); }

 private:
  UniqueFd namespace_;
};

/// Without a gateway the client is at the veth itself.
enum class Peer : std::uint8_t { tunport, slirp4netns, pasta, veth };

/// A running gateway with default options, except the MTU of slirp4netns (65,520, as the others have).
class Gateway {
 public:
  /// Throws `NotHere` without the program, std::runtime_error for a gateway that does not run.
  explicit Gateway(Peer peer);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// The namespace of the clients.
  int client_namespace() const { return namespace_.get(); }
  /// The CPU time of the gateway's process, in seconds; 0 without a gateway.
  double cpu_time() const;
  /// The resident memory of the gateway's process, in MB; 0 without a gateway.
  double memory() const;

 private:
  bool start(Peer peer);
  void end();

  bool ends_by_itself_;    // with COMMAND
  UniqueFd inside_stdin_;  // the end of the standard input ends what keeps the namespace
  UniqueFd namespace_;
  std::optional<Child> process_;
};

}  // namespace tunport::bench
