/// The contract of the reactors: see support/reactor_contract.hpp.

#include "support/reactor_contract.hpp"

#include <asio/strand.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/event/epoll_reactor.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/testing/manual_reactor.hpp"

namespace tunport {
namespace {

/// A reactor that runs by itself.
template <class Made>
class OwnDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { reactor_.run_once(Duration::zero()); }
  void pass(Duration time) override {
    for (const TimePoint end = reactor_.now() + time; reactor_.now() < end;)
      reactor_.run_once(end - reactor_.now());
  }

 private:
  Made reactor_;
};

/// The reactor behind a descriptor, with another loop waiting for it.
class EpollDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { wait(Duration::zero()); }
  void pass(Duration time) override {
    for (const TimePoint end = reactor_.now() + time; reactor_.now() < end;) wait(end - reactor_.now());
  }

 private:
  void wait(Duration longest) {
    pollfd entry{reactor_.fileno(), POLLIN, 0};
    const auto time = std::chrono::ceil<milliseconds>(longest).count();
    if (::poll(&entry, 1, static_cast<int>(time)) == 1) reactor_.run_ready();
  }
  EpollReactor reactor_;
};

using AsioDriver = ContextDriver<asio::io_context, AsioReactor,
                                 [](asio::io_context& context) { return context.get_executor(); }>;
using StrandDriver = ContextDriver<asio::io_context, AsioReactor,
                                   [](asio::io_context& context) { return asio::make_strand(context); }>;

class ManualDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { reactor_.run_ready(); }
  void pass(Duration time) override { reactor_.advance(time); }

 private:
  ManualReactor reactor_;
};

INSTANTIATE_TEST_SUITE_P(Each, ReactorContract,
                         ::testing::Values(Kind{"Poll", make<OwnDriver<PollReactor>>},
                                           Kind{"Epoll", make<OwnDriver<EpollReactor>>},
                                           Kind{"BehindADescriptor", make<EpollDriver>},
                                           Kind{"Asio", make<AsioDriver>}, Kind{"Strand", make<StrandDriver>},
                                           Kind{"Manual", make<ManualDriver>}),
                         [](const auto& tested) { return std::string{tested.param.name}; });

}  // namespace
}  // namespace tunport
