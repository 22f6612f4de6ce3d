#pragma once
/// The kit of tests of ports against the kernel: a loop of either kind, which turns while the other side
/// works.

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tunport/base/log.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"

#include "kernel/sandbox.hpp"

namespace tunport::sandbox {

/// An event loop of either kind.
class Loop {
 public:
  virtual ~Loop() = default;
  virtual Reactor& reactor() = 0;
  /// Waits at most `longest` for work, and does it.
  virtual void turn(milliseconds longest) = 0;
};

class AsioLoop : public Loop {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn(milliseconds longest) override {
    context_.restart();
    context_.run_one_for(longest);
  }

 private:
  asio::io_context context_{1};
  AsioReactor reactor_{context_};
};

class PollLoop : public Loop {
 public:
  Reactor& reactor() override { return reactor_; }
  void turn(milliseconds longest) override { reactor_.run_once(longest); }

 private:
  PollReactor reactor_;
};

/// A protocol for either kind of device; counts packets, and calls a hook for each, if set.
class Keeper : public FrameProtocol {
 public:
  void start_protocol() override {
    if (on_start) on_start();
  }
  void stop_protocol() override { ++stops; }
  void frame_received(const Packet& packet) override {
    ++received;
    if (on_frame) on_frame(packet);
  }
  std::string name() const override { return "Keeper"; }

  int received = 0;
  int stops = 0;
  std::function<void()> on_start;
  std::function<void(const Packet&)> on_frame;
};

/// Tests in a fresh namespace, once with each kind of loop.
class LoopTest : public KernelTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    disable_ipv6();
    if (GetParam() == std::string{"Asio"})
      loop_ = std::make_unique<AsioLoop>();
    else
      loop_ = std::make_unique<PollLoop>();
  }

  Reactor& reactor() { return loop_->reactor(); }
  /// Turns the loop until `holds` is true; false after `longest`.
  bool turn_until(const std::function<bool()>& holds, milliseconds longest = seconds{5}) {
    const auto deadline = Clock::now() + longest;
    while (!holds()) {
      if (Clock::now() >= deadline) return false;
      loop_->turn(milliseconds{5});
    }
    return true;
  }
  /// Does the other side's work on another thread while the loop turns here.
  void meanwhile(const std::function<void()>& work) {
    std::atomic<bool> done = false;
    std::thread thread{[&] {
      work();
      done = true;
    }};
    while (!done) loop_->turn(milliseconds{5});
    thread.join();
  }
  /// Runs a program while the loop turns.
  CommandResult command(const std::vector<std::string>& arguments) {
    CommandResult result;
    meanwhile([&] { result = run(arguments, seconds{8}); });
    return result;
  }
  void set_up(const std::string& name, bool up = true) {
    links.set_up(name, up, ec);
    ASSERT_FALSE(ec) << name << ": " << ec.message();
  }
  /// Configures the kernel's side: the address 10.77.0.1/24, and up.
  void configure(const std::string& name) {
    links.add_address(name, *IpPrefix::parse("10.77.0.1/24"), ec);
    ASSERT_FALSE(ec) << name << ": " << ec.message();
    set_up(name);
  }

  struct Effort {
    int turns = 0;           ///< turns of the loop, each with a wait of up to a second
    milliseconds processor;  ///< the process's computing time
  };
  /// Lets 300 ms go by; a spinning loop shows in the numbers.
  Effort rest() {
    Effort effort{};
    bool over = false;
    const auto timer = reactor().call_later(milliseconds{300}, [&] { over = true; });
    const std::clock_t before = std::clock();
    for (; !over && effort.turns < 100'000; ++effort.turns) loop_->turn(seconds{1});
    effort.processor = milliseconds{(std::clock() - before) * 1000 / CLOCKS_PER_SEC};
    return effort;
  }

  std::unique_ptr<Loop> loop_;
};

/// Few turns and hardly any computing. A spinning loop has tens of thousands, and computes all the time.
MATCHER(is_at_rest, "") {
  *result_listener << arg.turns << " turns, " << arg.processor.count() << " ms";
  return arg.turns <= 20 && arg.processor < milliseconds{100};
}

/// The number in a frame of `numbered`.
inline int number_of(Bytes frame) { return load_be16(frame, 14); }
/// A frame with a number in its payload.
inline std::vector<std::byte> numbered(int number, std::size_t size = 60) {
  auto frame = make_frame(size);
  store_be16(frame, 14, static_cast<std::uint16_t>(number));
  return frame;
}

}  // namespace tunport::sandbox
