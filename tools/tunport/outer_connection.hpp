#pragma once
/// A connection to the outside, being made.

#include <functional>
#include <system_error>

#include "tunport/base/lifeline.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/wire/address.hpp"

namespace tunport::tool {

/// Connects a TCP socket. The destructor ends a try.
class OuterConnection final : public Watched {
 public:
  /// Called once, from the reactor: with the connected socket, non-blocking, or with the error. May destroy
  /// the connection.
  using Done = std::function<void(const std::error_code& ec, UniqueFd socket)>;

  OuterConnection(Reactor& reactor, const Endpoint& destination, Done done);
  /// With a given socket, non-blocking; empty: the try fails with `errno`.
  OuterConnection(Reactor& reactor, const Endpoint& destination, UniqueFd socket, Done done);
  ~OuterConnection() override;
  OuterConnection(const OuterConnection&) = delete;
  OuterConnection& operator=(const OuterConnection&) = delete;

  int fileno() const override { return socket_.get(); }
  bool reading() const override { return false; }
  bool writing() const override { return true; }
  void do_read() override {}
  void do_write() override { settle(); }
  void do_error() override { settle(); }

 private:
  void settle();
  void finish(const std::error_code& ec);

  Reactor& reactor_;
  UniqueFd socket_;
  Done done_;
  Reactor::Timer failure_;
  bool is_watched_ = false;
};

}  // namespace tunport::tool
