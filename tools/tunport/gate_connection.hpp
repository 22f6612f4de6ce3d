#pragma once
/// A TCP connection through `tunport gate`: the outer connection first, then the client's, then the bytes.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tunport/gate/gate.hpp"
#include "tunport/gate/relay.hpp"

#include "gate_rules.hpp"
#include "proxy_connection.hpp"

namespace tunport::tool {

/// The story of a connection, for the log.
struct ConnectionRecord {
  Endpoint source;
  Endpoint destination;
  Endpoint target;
  std::string name = {};  ///< of the destination, where it is reached by name
  std::chrono::system_clock::time_point begun;
  std::uint64_t bytes_out = 0;  ///< from the client; of a published port: out of the sandbox
  std::uint64_t bytes_in = 0;   ///< to the client; of a published port: into the sandbox
  std::string end;              ///< "closed", "refused", "reset by the client", ...
};
/// A line of JSON, without the newline.
std::string to_json(const ConnectionRecord& record);

/// See above. The destructor resets what stands.
class GateConnection {
 public:
  /// Called once, at the end, from the reactor. May destroy the connection.
  using Ended = std::function<void(const ConnectionRecord& record)>;

  /// With `proxy` the target is reached by it, and by `name` if there is one; null: by this machine. `pipes`
  /// and `proxy` outlive the connection.
  GateConnection(Reactor& reactor, PipePool& pipes, GateRequest request, const GateTarget& target,
                 Proxy* proxy, std::string name);
  ~GateConnection();
  GateConnection(const GateConnection&) = delete;
  GateConnection& operator=(const GateConnection&) = delete;
  /// Begins, once.
  void start(Ended ended);
  /// Ends a connection whose client has gone before the outer connection was made.
  void look_after_client();
  /// The bytes so far.
  const RelayResult& progress() const { return progress_; }
  /// The story so far, of a connection that is cut off.
  ConnectionRecord cut_off() const;

 private:
  void connected(const std::error_code& ec, UniqueFd socket);
  void accepted(const std::error_code& ec, UniqueFd socket);
  void end(const std::string& how);

  Reactor& reactor_;
  PipePool& pipes_;
  GateRequest request_;
  std::optional<GateRefusal> refusal_;
  Proxy* proxy_;
  Ended ended_;
  ConnectionRecord record_;
  UniqueFd outer_;
  std::unique_ptr<Watched> connecting_;
  RelayResult progress_;
  std::unique_ptr<Relay> relay_;
  Reactor::Timer over_;
  std::shared_ptr<char> life_ = std::make_shared<char>();  // tells the gate's answer of our end
};

}  // namespace tunport::tool
