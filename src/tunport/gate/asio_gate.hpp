#pragma once
/// Completion tokens of a gate: `async_request` and `async_accept`. Opt-in and header-only: the user's own
/// Asio compiles the code.

#include <memory>
#include <stdexcept>
#include <utility>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/gate/gate.hpp"

namespace tunport::detail {

/// The executor of a reactor. Throws std::logic_error for a reactor without executors.
inline asio::any_io_executor gate_executor(const Reactor& reactor) {
  if (const auto* const on_asio = dynamic_cast<const AsioReactor*>(&reactor)) return on_asio->get_executor();
  throw std::logic_error("async_request and async_accept need a gate on an AsioReactor");
}

inline std::error_code gate_error(const std::error_code& ec) {
  return ec == Errc::operation_aborted ? std::error_code{asio::error::operation_aborted} : ec;
}

template <class Token>
struct AsyncGate<Token, void> {
  static auto request(Gate& gate, Token& token) {
    return asio::async_initiate<Token, void(std::error_code, GateRequest)>(
        [&gate](auto handler) {
          const auto executor = asio::get_associated_executor(handler, gate_executor(gate.reactor()));
          auto held = std::make_shared<decltype(handler)>(std::move(handler));
          gate.take_request([held, executor](const std::error_code& ec, GateRequest request) {
            asio::dispatch(executor, [held, ec, request = std::move(request)]() mutable {
              std::move (*held)(gate_error(ec), std::move(request));
            });
          });
        },
        token);
  }

  static auto accept(GateRequest& request, Token& token) {
    return asio::async_initiate<Token, void(std::error_code, asio::ip::tcp::socket)>(
        [&request](auto handler) {
          const asio::any_io_executor fallback = gate_executor(request.reactor());
          const bool v6 = request.destination().address.is_v6();
          const auto executor = asio::get_associated_executor(handler, fallback);
          auto held = std::make_shared<decltype(handler)>(std::move(handler));
          request.accept([held, executor, fallback, v6](std::error_code ec, UniqueFd socket) {
            asio::ip::tcp::socket connected{fallback};
            if (!ec) {
              connected.assign(v6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), socket.get(), ec);
              if (!ec) socket.release();
            }
            asio::dispatch(executor, [held, ec, connected = std::move(connected)]() mutable {
              std::move (*held)(gate_error(ec), std::move(connected));
            });
          });
        },
        token);
  }
};

}  // namespace tunport::detail
