#pragma once
/// The kernel's listener behind a gate.

#include <functional>
#include <string>
#include <system_error>

#include "tunport/base/lifeline.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A listening TCP socket, bound to an address of an interface, a free port, and the interface itself:
/// packets that did not come out of the interface find the port closed.
class GateListener final : public Watched {
 public:
  /// Takes a connection that the kernel has accepted. May destroy the listener.
  using Accepted = std::function<void(UniqueFd socket, const Endpoint& peer)>;

  /// A listening socket in the calling thread's namespace. Errors: those of socket, setsockopt, bind, listen.
  static UniqueFd open(const std::string& interface, const IpAddress& address, std::error_code& ec);

  /// Watches `socket`, a listening one. Throws `Error` if the kernel cannot say its address, or cannot watch
  /// it.
  GateListener(Reactor& reactor, UniqueFd socket, Accepted accepted);
  ~GateListener() override;

  /// The address and port of the socket.
  const Endpoint& endpoint() const { return endpoint_; }

  int fileno() const override { return socket_.get(); }
  bool reading() const override { return reading_; }
  bool writing() const override { return false; }
  void do_read() override;
  void do_write() override {}
  void do_error() override {}

 private:
  Reactor& reactor_;
  UniqueFd socket_;
  Accepted accepted_;
  Endpoint endpoint_;
  bool reading_ = true;
  Reactor::Timer pause_;
  Lifeline lifeline_;
};

}  // namespace tunport
