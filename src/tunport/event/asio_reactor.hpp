#pragma once
/// A reactor on standalone Asio. Opt-in.

#include <functional>
#include <utility>

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "tunport/event/basic_asio_reactor.hpp"

namespace tunport {

/// The types of standalone Asio.
struct StandaloneAsio {
  using context = asio::io_context;
  using executor = asio::any_io_executor;
  using descriptor = asio::posix::stream_descriptor;
  using timer = asio::steady_timer;
  using error_code = asio::error_code;
  /// Runs `call` in the next turn of `where`.
  static void post(const executor& where, std::function<void()> call) { asio::post(where, std::move(call)); }
};

/// `asio::io_context io; AsioReactor reactor{io}; ... io.run();`
using AsioReactor = BasicAsioReactor<StandaloneAsio>;

}  // namespace tunport
