#pragma once
/// Completion tokens: `TuntapPort::async_receive` and `async_send`. Opt-in and header-only, as
/// `asio_reactor.hpp`.

#include <memory>
#include <utility>

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/dispatch.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/completions.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport {
namespace detail {

/// A handler that can be copied, as std::function wants it, and that is called where it asked to be.
template <class Handler, class Executor>
auto shared_handler(Handler handler, const Executor& fallback) {
  auto executor = asio::get_associated_executor(handler, fallback);
  auto held = std::make_shared<Handler>(std::move(handler));
  return [held, executor](auto... results) {
    asio::get_associated_cancellation_slot(*held).clear();
    asio::dispatch(executor, [held, results...]() mutable { std::move (*held)(std::move(results)...); });
  };
}

inline auto executor_of(const TuntapPort& port) {
  return dynamic_cast<AsioReactor&>(port.reactor()).context().get_executor();
}

}  // namespace detail

template <class Token>
auto TuntapPort::async_receive(const asio::mutable_buffer& buffer, Token&& token) {
  const MutableBytes space{static_cast<std::byte*>(buffer.data()), buffer.size()};
  return asio::async_initiate<Token, void(std::error_code, Packet)>(
      [this, space](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        // Throws if another one is outstanding, which this slot must not cancel.
        receive(space, detail::shared_handler(std::move(handler), detail::executor_of(*this)));
        if (slot.is_connected())
          slot.assign([weak = std::weak_ptr{completions_}](asio::cancellation_type) {
            if (const auto completions = weak.lock()) completions->cancel_receive();
          });
      },
      token);
}

template <class Token>
auto TuntapPort::async_send(Bytes datagram, Token&& token) {
  return asio::async_initiate<Token, void(std::error_code)>(
      [this, datagram](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        const std::uint64_t ticket =
            send(datagram, detail::shared_handler(std::move(handler), detail::executor_of(*this)));
        if (slot.is_connected() && ticket != 0)
          slot.assign([weak = std::weak_ptr{completions_}, ticket](asio::cancellation_type) {
            if (const auto completions = weak.lock()) completions->cancel_send(ticket);
          });
      },
      token);
}

}  // namespace tunport
