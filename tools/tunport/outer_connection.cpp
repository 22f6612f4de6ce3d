#include "outer_connection.hpp"

#include <cerrno>
#include <chrono>
#include <utility>

#include <sys/socket.h>

#include "tunport/base/error.hpp"

namespace tunport::tool {

OuterConnection::OuterConnection(Reactor& reactor, const Endpoint& destination, Done done)
    : OuterConnection{reactor, destination,
                      UniqueFd{::socket(destination.address.is_v6() ? AF_INET6 : AF_INET,
                                        SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)},
                      std::move(done)} {}

OuterConnection::OuterConnection(Reactor& reactor, const Endpoint& destination, UniqueFd socket, Done done)
    : reactor_{reactor}, socket_{std::move(socket)}, done_{std::move(done)} {
  sockaddr_storage storage{};
  const socklen_t length = destination.to_sockaddr(storage);
  int error = 0;
  if (!socket_ || (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 &&
                   errno != EINPROGRESS && errno != EINTR))
    error = errno;
  if (error == 0) try {
      reactor_.add(*this);
      is_watched_ = true;
      return;
    } catch (const std::system_error& failed) {
      error = failed.code().value();
    }
  failure_ = reactor_.call_later(Duration::zero(), [this, error] { finish(errno_code(error)); });
}

OuterConnection::~OuterConnection() {
  if (is_watched_) reactor_.remove(*this);
}

void OuterConnection::settle() {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  // A report may be in vain: without a peer and without an error the try goes on.
  if (error == 0 && ::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
    if (errno == ENOTCONN) return;
    error = errno;
  }
  finish(error == 0 ? std::error_code{} : errno_code(error));
}

void OuterConnection::finish(const std::error_code& ec) {
  if (std::exchange(is_watched_, false)) reactor_.remove(*this);
  if (ec) socket_.reset();
  const Done done = std::move(done_);
  done(ec, std::move(socket_));
}

}  // namespace tunport::tool
