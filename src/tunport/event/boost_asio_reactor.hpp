#pragma once
/// A reactor on Boost.Asio. Opt-in: needs Boost, which nothing else of tunport does.

#include <functional>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "tunport/event/basic_asio_reactor.hpp"

namespace tunport {

/// The types of Boost.Asio.
struct BoostAsio {
  using context = boost::asio::io_context;
  using executor = boost::asio::any_io_executor;
  using descriptor = boost::asio::posix::stream_descriptor;
  using timer = boost::asio::steady_timer;
  using error_code = boost::system::error_code;
  /// Runs `call` in the next turn of `where`.
  static void post(const executor& where, std::function<void()> call) {
    boost::asio::post(where, std::move(call));
  }
};

/// Not in one file with tunport/asio.hpp: the two Asios do not go together.
///
/// `boost::asio::io_context io; BoostAsioReactor reactor{io}; ... io.run();`
using BoostAsioReactor = BasicAsioReactor<BoostAsio>;

}  // namespace tunport
