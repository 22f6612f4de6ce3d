#pragma once
/// Completion tokens: `async_receive` and `async_send` of the ports. Opt-in and header-only, as
/// `asio_reactor.hpp`.

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"

namespace tunport {
namespace detail {

/// The error as Asio's users compare it: an abort is Asio's own.
inline std::error_code as_asio(const std::error_code& ec) {
  return ec == Errc::operation_aborted ? std::error_code{asio::error::operation_aborted} : ec;
}
inline Packet as_asio(const Packet& packet) { return packet; }
inline Datagram as_asio(const Datagram& datagram) { return datagram; }

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

/// The executor of the port's loop. Throws std::logic_error for a port on a reactor without executors.
inline asio::any_io_executor executor_of(const BasePort& port) {
  if (const auto* const reactor = dynamic_cast<const AsioReactor*>(&port.reactor()))
    return reactor->get_executor();
  throw std::logic_error(port.log_prefix() + ": async_receive and async_send need a port on an AsioReactor");
}

/// What starts an operation. With the executor of its own that `asio::cancel_after` needs.
template <class Port>
struct PortInitiation {
  using executor_type = asio::any_io_executor;
  executor_type get_executor() const { return executor_of(*port); }
  Port* port;
};

template <class Token>
struct AsyncCalls<Token, void> {
  template <class Port>
  struct Receive : PortInitiation<Port> {
    template <class Handler>
    void operator()(Handler&& handler) const {
      Port& of = *this->port;
      auto slot = asio::get_associated_cancellation_slot(handler);
      // Throws if another one is outstanding, which this slot must not cancel.
      of.receive(space, shared_handler(std::forward<Handler>(handler), executor_of(of)));
      if (slot.is_connected())
        slot.assign([cancel = of.receive_canceller()](asio::cancellation_type) { cancel(); });
    }
    MutableBytes space;
  };
  template <class Port, class... To>
  struct Send : PortInitiation<Port> {
    template <class Handler>
    void operator()(Handler&& handler) const {
      Port& of = *this->port;
      auto slot = asio::get_associated_cancellation_slot(handler);
      const Ticket ticket = std::apply(
          [&](const auto&... where) {
            return of.send(where..., datagram,
                           shared_handler(std::forward<Handler>(handler), executor_of(of)));
          },
          to);
      if (slot.is_connected() && ticket != 0)
        slot.assign([cancel = of.send_canceller(ticket)](asio::cancellation_type) { cancel(); });
    }
    Bytes datagram;
    std::tuple<To...> to;
  };

  template <class Port>
  static auto receive(Port& port, const asio::mutable_buffer& buffer, Token& token) {
    const MutableBytes space{static_cast<std::byte*>(buffer.data()), buffer.size()};
    return asio::async_initiate<Token, void(std::error_code, typename Port::Received)>(
        Receive<Port>{{&port}, space}, token);
  }
  /// `to`: nothing on a tunnel port, the receiver on a UDP port.
  template <class Port, class... To>
  static auto send(Port& port, Bytes datagram, Token& token, const To&... to) {
    return asio::async_initiate<Token, void(std::error_code)>(
        Send<Port, To...>{{&port}, datagram, std::tuple<To...>{to...}}, token);
  }
};

}  // namespace detail
}  // namespace tunport
