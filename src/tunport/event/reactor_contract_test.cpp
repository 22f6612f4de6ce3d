/// The contract of the reactors: see support/reactor_contract.hpp.

#include "support/reactor_contract.hpp"

#include <asio/strand.hpp>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/testing/manual_reactor.hpp"

namespace tunport {
namespace {

class PollDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { reactor_.run_once(Duration::zero()); }
  void pass(Duration time) override {
    for (const TimePoint end = reactor_.now() + time; reactor_.now() < end;)
      reactor_.run_once(end - reactor_.now());
  }

 private:
  PollReactor reactor_;
};

/// The same reactor, with a foreign loop waiting for it.
class ForeignLoopDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { wait(Duration::zero()); }
  void pass(Duration time) override {
    for (const TimePoint end = reactor_.now() + time; reactor_.now() < end;) wait(end - reactor_.now());
  }

 private:
  void wait(Duration longest) {
    std::vector<pollfd> entries = reactor_.wanted();
    const TimePoint deadline = reactor_.next_deadline();
    Duration time = longest;
    if (deadline != TimePoint::max())
      time = deadline <= reactor_.now() ? Duration::zero() : std::min(longest, deadline - reactor_.now());
    ::poll(entries.data(), entries.size(), static_cast<int>(std::chrono::ceil<milliseconds>(time).count()));
    for (const pollfd& entry : entries)
      if (entry.revents != 0) reactor_.dispatch(entry.fd, entry.revents);
    reactor_.run_due();
  }
  PollReactor reactor_;
};

class AsioDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override {
    context_.restart();
    context_.poll();
  }
  void pass(Duration time) override {
    context_.restart();
    context_.run_for(time);
  }

 private:
  asio::io_context context_;
  AsioReactor reactor_{context_};
};

/// On a strand of a context.
class StrandDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override {
    context_.restart();
    context_.poll();
  }
  void pass(Duration time) override {
    context_.restart();
    context_.run_for(time);
  }

 private:
  asio::io_context context_;
  AsioReactor reactor_{asio::make_strand(context_)};
};

class ManualDriver : public Driver {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn() override { reactor_.run_ready(); }
  void pass(Duration time) override { reactor_.advance(time); }

 private:
  ManualReactor reactor_;
};

INSTANTIATE_TEST_SUITE_P(Each, ReactorContract,
                         ::testing::Values(Kind{"Poll", make<PollDriver>},
                                           Kind{"ForeignLoop", make<ForeignLoopDriver>},
                                           Kind{"Asio", make<AsioDriver>}, Kind{"Strand", make<StrandDriver>},
                                           Kind{"Manual", make<ManualDriver>}),
                         [](const auto& tested) { return std::string{tested.param.name}; });

}  // namespace
}  // namespace tunport
