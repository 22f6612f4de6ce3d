#pragma once
/// `relay(a, b, token)`: a relay of two Asio sockets, with completion tokens. Opt-in and header-only, as
/// `asio_reactor.hpp`; relay.hpp has the theory.

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/gate/relay.hpp"

namespace tunport {
namespace detail {

/// A relay that a context owns until the completion.
class OwnedRelay {
 public:
  virtual ~OwnedRelay() = default;
};

/// The relays of a context, and their pipes. The end of the context destroys the relays.
class RelayService final : public asio::execution_context::service {
 public:
  using key_type = RelayService;
  static inline asio::execution_context::id id;
  using Relays = std::list<std::shared_ptr<OwnedRelay>>;

  explicit RelayService(asio::execution_context& context) : asio::execution_context::service{context} {}

  PipePool& pipes() { return pipes_; }
  Relays::iterator add(std::shared_ptr<OwnedRelay> relay) {
    const std::lock_guard lock{mutex_};
    return relays_.insert(relays_.end(), std::move(relay));
  }
  std::shared_ptr<OwnedRelay> remove(Relays::iterator place) {
    const std::lock_guard lock{mutex_};
    auto relay = std::move(*place);
    relays_.erase(place);
    return relay;
  }

 private:
  // The destructor of a handler may do anything except start a relay: the context has ended.
  void shutdown() override {
    Relays relays;
    {
      const std::lock_guard lock{mutex_};
      relays.swap(relays_);
    }
  }

  PipePool pipes_;
  std::mutex mutex_;
  Relays relays_;
};

template <class Handler>
class RelayOperation final : public OwnedRelay, public std::enable_shared_from_this<RelayOperation<Handler>> {
 public:
  RelayOperation(const asio::any_io_executor& executor, Handler handler)
      : service_{asio::use_service<RelayService>(asio::query(executor, asio::execution::context))},
        reactor_{executor},
        work_{asio::get_associated_executor(handler, executor)},
        handler_{std::move(handler)} {}

  void start(UniqueFd a, UniqueFd b, const RelayOptions& options) {
    place_ = service_.add(this->shared_from_this());
    if (auto slot = asio::get_associated_cancellation_slot(handler_); slot.is_connected())
      slot.assign([weak = this->weak_from_this()](asio::cancellation_type) {
        if (const auto operation = weak.lock(); operation && operation->relay_) operation->relay_->cancel();
      });
    try {
      relay_.emplace(reactor_, service_.pipes(), std::move(a), std::move(b), options,
                     [this](const std::error_code& ec, const RelayResult& result) { complete(ec, result); });
    } catch (const Error& error) {
      complete(error.code(), {0, 0, RelayEnd::failed});
    } catch (...) {
      service_.remove(place_);
      throw;
    }
  }

 private:
  void complete(const std::error_code& ec, const RelayResult& result) {
    const auto self = service_.remove(place_);
    asio::get_associated_cancellation_slot(handler_).clear();
    asio::post(work_.get_executor(),
               [handler = std::move(handler_), result,
                ec = ec == Errc::operation_aborted ? std::error_code{asio::error::operation_aborted}
                                                   : ec]() mutable { std::move(handler)(ec, result); });
  }

  using Executor = asio::associated_executor_t<Handler, asio::any_io_executor>;

  RelayService& service_;
  RelayService::Relays::iterator place_{};
  AsioReactor reactor_;
  asio::executor_work_guard<Executor> work_;
  Handler handler_;
  std::optional<Relay> relay_;  // last: its end uses the members above
};

/// What starts a relay. With the executor of its own that `asio::cancel_after` needs.
template <class A, class B>
struct RelayInitiation {
  using executor_type = asio::any_io_executor;
  executor_type get_executor() const noexcept { return executor; }

  template <class Handler>
  void operator()(Handler&& handler, A a, B b, const RelayOptions& options) const {
    using Operation = RelayOperation<std::decay_t<Handler>>;
    const auto operation = std::make_shared<Operation>(executor, std::forward<Handler>(handler));
    std::error_code closed;  // a closed socket has no descriptor, of which the relay tells
    UniqueFd first{a.release(closed)};
    UniqueFd second{b.release(closed)};
    operation->start(std::move(first), std::move(second), options);
  }
  asio::any_io_executor executor;
};

}  // namespace detail

/// Relays between two connected sockets of Asio, TCP or Unix streams (`asio::generic::stream_protocol`
/// included), in both directions, until both streams have ended. The completion is
/// `void(std::error_code, RelayResult)`:
///
/// - streams that ended in order, or by a reset, or by `RelayOptions::idle_timeout`: no error; the result
///   tells which;
/// - cancelled by the token's cancellation slot, at any time: `asio::error::operation_aborted`, and both
///   sockets are reset;
/// - otherwise the error of the socket that failed, or of the loop that could not watch a socket.
///
/// The relay owns the sockets, and has closed both at the completion. Other operations on the sockets are
/// aborted at the beginning. Everything runs on the executor of `a`, which one thread at a time runs: a
/// context with one thread, or a strand. `options.progress` is borrowed until the completion. A context that
/// ends before resets the sockets, without a completion. The relays of a context share the pipes.
///
///     const RelayResult result = co_await relay(std::move(client), std::move(server), asio::use_awaitable);
template <class ProtocolA, class ExecutorA, class ProtocolB, class ExecutorB, class Token>
auto relay(asio::basic_stream_socket<ProtocolA, ExecutorA> a,
           asio::basic_stream_socket<ProtocolB, ExecutorB> b, const RelayOptions& options, Token&& token) {
  using A = asio::basic_stream_socket<ProtocolA, ExecutorA>;
  using B = asio::basic_stream_socket<ProtocolB, ExecutorB>;
  const asio::any_io_executor executor = a.get_executor();
  return asio::async_initiate<Token, void(std::error_code, RelayResult)>(
      detail::RelayInitiation<A, B>{executor}, token, std::move(a), std::move(b), options);
}
/// The same with the default options.
template <class ProtocolA, class ExecutorA, class ProtocolB, class ExecutorB, class Token>
auto relay(asio::basic_stream_socket<ProtocolA, ExecutorA> a,
           asio::basic_stream_socket<ProtocolB, ExecutorB> b, Token&& token) {
  return relay(std::move(a), std::move(b), RelayOptions{}, std::forward<Token>(token));
}

}  // namespace tunport
