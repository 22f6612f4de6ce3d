#pragma once
/// Completion tokens: `TuntapPort::async_receive` and `async_send`. Opt-in and header-only, as
/// `asio_reactor.hpp`.

#include <memory>
#include <stdexcept>
#include <utility>

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport {
namespace detail {

/// The error as Asio's users compare it: an abort is Asio's own.
inline std::error_code as_asio(const std::error_code& ec) {
  return ec == Errc::operation_aborted ? std::error_code{asio::error::operation_aborted} : ec;
}
inline Packet as_asio(const Packet& packet) { return packet; }

/// A copyable form of `handler`, for std::function. Each call runs on the handler's own executor.
template <class Handler, class Executor>
auto shared_handler(Handler handler, const Executor& fallback) {
  auto executor = asio::get_associated_executor(handler, fallback);
  auto held = std::make_shared<Handler>(std::move(handler));
  return [held, executor](auto... results) {
    asio::get_associated_cancellation_slot(*held).clear();
    asio::dispatch(executor, [held, results...]() mutable { std::move (*held)(as_asio(results)...); });
  };
}

/// The executor of the port's context. Throws std::logic_error for a port on a reactor without executors.
inline auto executor_of(const TuntapPort& port) {
  if (const auto* const reactor = dynamic_cast<const AsioReactor*>(&port.reactor()))
    return reactor->context().get_executor();
  throw std::logic_error(port.log_prefix() + ": async_receive and async_send need a port on an AsioReactor");
}

template <class Token>
struct AsyncCalls<Token, void> {
  static auto receive(TuntapPort& port, const asio::mutable_buffer& buffer, Token& token) {
    const MutableBytes space{static_cast<std::byte*>(buffer.data()), buffer.size()};
    return asio::async_initiate<Token, void(std::error_code, Packet)>(
        [&port, space](auto handler) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          // Throws while another receive is outstanding: the slot must not cancel the other receive.
          port.receive(space, shared_handler(std::move(handler), executor_of(port)));
          if (slot.is_connected())
            slot.assign([cancel = port.receive_canceller()](asio::cancellation_type) { cancel(); });
        },
        token);
  }

  static auto send(TuntapPort& port, Bytes datagram, Token& token) {
    return asio::async_initiate<Token, void(std::error_code)>(
        [&port, datagram](auto handler) {
          auto slot = asio::get_associated_cancellation_slot(handler);
          const Ticket ticket = port.send(datagram, shared_handler(std::move(handler), executor_of(port)));
          if (slot.is_connected() && ticket != 0)
            slot.assign([cancel = port.send_canceller(ticket)](asio::cancellation_type) { cancel(); });
        },
        token);
  }
};

}  // namespace detail
}  // namespace tunport
