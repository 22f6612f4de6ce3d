#pragma once
/// What comes to published ports goes into the sandbox.

#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "tunport/event/reactor.hpp"
#include "tunport/gate/relay.hpp"
#include "tunport/gate/udp_relay.hpp"
#include "tunport/port/udp_port.hpp"

#include "gate_connection.hpp"
#include "inside_sockets.hpp"
#include "publish.hpp"

namespace tunport::tool {

/// Listens outside, connects inside. A port without a listener inside is closed: its clients are reset. The
/// destructor resets what stands.
class Publisher {
 public:
  /// Called at the end of a connection. `bytes_in` went into the sandbox, `bytes_out` came out.
  using Ended = std::function<void(const ConnectionRecord& record)>;

  /// Opens the ports. Throws `Failure` with the port and the remedy. `reactor`, `pipes` and `inside` outlive
  /// the publisher.
  Publisher(Reactor& reactor, PipePool& pipes, InsideSockets& inside, const std::vector<Published>& ports,
            Ended ended);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// The number of TCP connections.
  std::size_t connections() const { return connections_.size(); }

 private:
  class Listener;
  class Connection;
  struct UdpService {
    UdpService(Reactor& reactor, InsideSockets& inside, const Published& port);
    UdpRelay relay;
    UdpPort port;
  };

  void accepted(UniqueFd socket, const Endpoint& client, const Published& port);

  Reactor& reactor_;
  PipePool& pipes_;
  InsideSockets& inside_;
  Ended ended_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<UdpService>> services_;
  std::list<Connection> connections_;
};

}  // namespace tunport::tool
