#include "proxy_connection.hpp"

#include <array>
#include <cerrno>
#include <utility>

#include <sys/socket.h>

#include "tunport/base/error.hpp"

namespace tunport::tool {
namespace {

constexpr std::size_t buffer_size = 4096;

}  // namespace

void Proxy::fails(const std::string& fault) {
  if (std::exchange(is_said_, true)) return;
  say_("the proxy " + to_string(upstream_) + ": " + fault + "; connections are refused meanwhile");
}

ProxyConnection::ProxyConnection(Reactor& reactor, Proxy& proxy, const ProxyRequest& request, Done done)
    : reactor_{reactor}, proxy_{proxy}, handshake_{proxy.upstream(), request}, done_{std::move(done)} {
  if (handshake_.state() == ProxyHandshake::State::failed) {
    timeout_ = reactor_.call_later(Duration::zero(), [this] { finish(handshake_.error()); });
    return;
  }
  timeout_ = reactor_.call_later(time_limit, [this] { fail("no answer within 30 s"); });
  try_next();
}

ProxyConnection::~ProxyConnection() {
  if (is_watched_) reactor_.remove(*this);
}

void ProxyConnection::try_next() {
  connecting_ = std::make_unique<OuterConnection>(
      reactor_, proxy_.endpoints()[tried_++],
      [this](const std::error_code& ec, UniqueFd socket) { connected(ec, std::move(socket)); });
}

void ProxyConnection::connected(const std::error_code& ec, UniqueFd socket) {
  if (ec) {
    if (tried_ < proxy_.endpoints().size()) return try_next();
    return fail(cause(ec));
  }
  socket_ = std::move(socket);
  try {
    reactor_.add(*this);
    is_watched_ = true;
  } catch (const std::system_error& failed) {
    return fail(cause(failed.code()));
  }
  send();
}

void ProxyConnection::send() {
  while (!handshake_.to_send().empty()) {
    const Bytes bytes = handshake_.to_send();
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      if (errno == EAGAIN) break;
      return fail(cause(errno_code(errno)));
    }
    handshake_.sent(static_cast<std::size_t>(count));
  }
  reactor_.update(*this);
}

void ProxyConnection::do_write() { send(); }

void ProxyConnection::do_read() {
  std::array<std::byte, buffer_size> buffer;
  while (handshake_.state() == ProxyHandshake::State::going_on) {
    // What the handshake does not take is the first of the connection, and stays in the socket.
    const ssize_t seen = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_PEEK);
    if (seen < 0 && errno == EINTR) continue;
    if (seen < 0) {
      if (errno == EAGAIN) return send();
      return fail(cause(errno_code(errno)));
    }
    if (seen == 0) {
      handshake_.end_of_stream();
      break;
    }
    const std::size_t taken = handshake_.receive(Bytes{buffer}.first(static_cast<std::size_t>(seen)));
    (void)!::recv(socket_.get(), buffer.data(), taken, 0);
  }
  settle();
}

void ProxyConnection::do_error() {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail(cause(errno_code(error)));
  do_read();
}

void ProxyConnection::settle() {
  if (!handshake_.fault().empty()) return fail(handshake_.fault());
  proxy_.works();
  finish(handshake_.error());
}

void ProxyConnection::fail(const std::string& fault) {
  proxy_.fails(fault);
  finish(ECONNREFUSED);
}

void ProxyConnection::finish(int error) {
  timeout_.cancel();
  if (std::exchange(is_watched_, false)) reactor_.remove(*this);
  if (error != 0) socket_.reset();
  const Done done = std::move(done_);
  done(error == 0 ? std::error_code{} : errno_code(error), std::move(socket_));
}

}  // namespace tunport::tool
