#pragma once
/// A connection by a proxy, being made.

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

#include "outer_connection.hpp"
#include "proxy_handshake.hpp"
#include "upstream.hpp"

namespace tunport::tool {

/// The proxy of a gate: where the proxy is, and what was said about its faults.
class Proxy {
 public:
  /// Called with a line about a fault: "the proxy socks5://127.0.0.1:1080: Connection refused; ...".
  using Say = std::function<void(const std::string& line)>;

  Proxy(Upstream upstream, std::vector<Endpoint> endpoints, Say say)
      : upstream_{std::move(upstream)}, endpoints_{std::move(endpoints)}, say_{std::move(say)} {}

  const Upstream& upstream() const { return upstream_; }
  const std::vector<Endpoint>& endpoints() const { return endpoints_; }
  bool is_at(const Endpoint& endpoint) const {
    return std::ranges::find(endpoints_, endpoint) != endpoints_.end();
  }
  /// The proxy has done its part: the next fault is news.
  void works() { is_said_ = false; }
  /// Tells a fault, unless one was told since the proxy worked last.
  void fails(const std::string& fault);

 private:
  Upstream upstream_;
  std::vector<Endpoint> endpoints_;  // of a name: tried in order
  Say say_;
  bool is_said_ = false;
};

/// Connects to the proxy, and has the handshake with it. The destructor ends a try.
class ProxyConnection final : public Watched {
 public:
  /// Called once, from the reactor: with the socket behind the handshake, non-blocking, or with the error:
  /// the proxy's answer about the destination, or ECONNREFUSED for a proxy that does not work. May destroy
  /// the connection.
  using Done = std::function<void(const std::error_code& ec, UniqueFd socket)>;
  /// Connecting and the handshake together.
  static constexpr Duration time_limit = std::chrono::seconds{30};

  /// `proxy` outlives the connection.
  ProxyConnection(Reactor& reactor, Proxy& proxy, const ProxyRequest& request, Done done);
  ~ProxyConnection() override;
  ProxyConnection(const ProxyConnection&) = delete;
  ProxyConnection& operator=(const ProxyConnection&) = delete;

  int fileno() const override { return socket_.get(); }
  bool reading() const override { return true; }
  bool writing() const override { return !handshake_.to_send().empty(); }
  void do_read() override;
  void do_write() override;
  void do_error() override;

  /// What was said.
  const ProxyHandshake& handshake() const { return handshake_; }

 private:
  void try_next();
  void connected(const std::error_code& ec, UniqueFd socket);
  void send();
  void settle();
  void fail(const std::string& fault);
  void finish(int error);

  Reactor& reactor_;
  Proxy& proxy_;
  ProxyHandshake handshake_;
  Done done_;
  std::size_t tried_ = 0;  // endpoints
  std::unique_ptr<OuterConnection> connecting_;
  UniqueFd socket_;
  bool is_watched_ = false;
  Reactor::Timer timeout_;
};

}  // namespace tunport::tool
