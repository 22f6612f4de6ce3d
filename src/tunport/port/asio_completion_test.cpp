#include "tunport/port/asio_completion.hpp"

#include <array>
#include <chrono>
#include <concepts>
#include <stdexcept>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#if __has_include(<asio/cancel_after.hpp>)
#include <asio/cancel_after.hpp>
#endif
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;

class AsioCompletion : public testing::Test {
 protected:
  void listen() {
    port_ = std::make_unique<TuntapPort>(reactor_, DeviceKind::tap, "tap0", PortOptions{.system = kernel_});
    port_->start_listening();
    interface().set_up(true);
  }
  MemorySystem::Tunnel interface() { return kernel_.tunnel("tap0"); }
  /// Runs what is ready, for 20 ms at most.
  void run() {
    io_.restart();
    io_.run_for(20ms);
  }

  MemorySystem kernel_;
  asio::io_context io_;
  AsioReactor reactor_{io_};
  std::unique_ptr<TuntapPort> port_;
};

#ifdef ASIO_HAS_CO_AWAIT  // not with clang 14 on libstdc++
TEST_F(AsioCompletion, ACoroutineServes) {
  listen();
  asio::co_spawn(
      io_,
      [](TuntapPort& port) -> asio::awaitable<void> {
        std::array<std::byte, 2048> buffer;
        for (int i = 0; i < 3; ++i) {
          const Packet packet = co_await port.async_receive(asio::buffer(buffer), asio::use_awaitable);
          co_await port.async_send(packet.bytes(), asio::use_awaitable);
        }
      }(*port_),
      asio::detached);
  for (int i = 0; i < 5; ++i) interface().inject(frame(i));
  run();
  EXPECT_THAT(interface().collect(), ElementsAre(frame(0), frame(1), frame(2)));
  EXPECT_EQ(interface().waiting(), 2U) << "the port reads only while a receive is outstanding";
}
#endif

/// A completion token that takes the initiation apart, as `asio::cancel_after` of newer versions does.
struct NeedsExecutor {};
template <class Initiation>
concept HasExecutor = requires(const std::decay_t<Initiation>& initiation) {
  typename std::decay_t<Initiation>::executor_type;
  { initiation.get_executor() } -> std::convertible_to<asio::any_io_executor>;
};

}  // namespace
}  // namespace tunport

template <class Signature>
class asio::async_result<tunport::NeedsExecutor, Signature> {
 public:
  template <class Initiation, class... Args>
  static asio::any_io_executor initiate(Initiation&& initiation, tunport::NeedsExecutor, Args&&...) {
    static_assert(tunport::HasExecutor<Initiation>);
    return initiation.get_executor();
  }
};

namespace tunport {
namespace {

TEST_F(AsioCompletion, EachInitiationHasAnExecutorAsTimeoutsNeed) {
  listen();
  std::array<std::byte, 100> buffer;
  UdpPort udp{reactor_, {*IpAddress::parse("127.0.0.1"), 0}, PortOptions{.system = kernel_}};
  const asio::any_io_executor executor = io_.get_executor();
  EXPECT_EQ(port_->async_receive(asio::buffer(buffer), NeedsExecutor{}), executor);
  EXPECT_EQ(port_->async_send(frame(1), NeedsExecutor{}), executor);
  EXPECT_EQ(udp.async_receive(asio::buffer(buffer), NeedsExecutor{}), executor);
  EXPECT_EQ(udp.async_send(udp.get_host(), as_bytes("x"), NeedsExecutor{}), executor);
#if __has_include(<asio/cancel_after.hpp>)
  std::error_code end;
  port_->async_receive(asio::buffer(buffer),
                       asio::cancel_after(1ms, [&](const std::error_code& ec, const Packet&) { end = ec; }));
  run();
  EXPECT_EQ(end, asio::error::operation_aborted);
#endif
}

TEST_F(AsioCompletion, NothingIsReadBeforeTheFirstReceive) {
  listen();
  interface().inject(frame(1));
  run();
  EXPECT_EQ(interface().waiting(), 1U);
}

TEST_F(AsioCompletion, AShortBufferIsSaid) {
  listen();
  std::array<std::byte, 20> buffer;
  Packet got;
  port_->async_receive(asio::buffer(buffer), [&](const std::error_code& ec, const Packet& packet) {
    EXPECT_FALSE(ec);
    got = packet;
  });
  interface().inject(frame(7, 60));
  run();
  EXPECT_EQ(got.size(), 20U);
  EXPECT_TRUE(got.truncated());
  EXPECT_EQ(got.bytes().data(), buffer.data()) << "in the caller's buffer";
}

TEST_F(AsioCompletion, NothingIsReadAfterAHandlerThatThrows) {
  listen();
  std::array<std::byte, 2048> buffer;
  port_->receive(buffer, [](const std::error_code&, const Packet&) { throw std::runtime_error{"no"}; });
  interface().inject(frame(1));
  interface().inject(frame(2));
  run();
  EXPECT_EQ(port_->statistics().exceptions, 1U);
  EXPECT_EQ(interface().waiting(), 1U);
}

TEST_F(AsioCompletion, WhatIsReadUnaskedIsCounted) {
  listen();
  port_->start_reading();
  interface().inject(frame(1));
  interface().inject(frame(2));
  run();
  EXPECT_EQ(port_->statistics().drops[DropReason::not_listening], 1U);
  EXPECT_EQ(port_->statistics().exceptions, 0U);
  EXPECT_EQ(interface().waiting(), 1U) << "and it is paused again";
}

TEST_F(AsioCompletion, StoppingAborts) {
  listen();
  std::array<std::byte, 100> buffer;
  std::vector<std::error_code> ends;
  port_->async_receive(asio::buffer(buffer),
                       [&](const std::error_code& ec, const Packet&) { ends.push_back(ec); });
  interface().set_writable(false);
  port_->async_send(frame(1), [&](const std::error_code& ec) { ends.push_back(ec); });
  run();
  EXPECT_THAT(ends, IsEmpty());
  port_->stop_listening();
  EXPECT_THAT(ends, IsEmpty()) << "not inside the call";
  run();
  EXPECT_THAT(ends, ElementsAre(asio::error::operation_aborted, asio::error::operation_aborted));
  ends.clear();
  port_->async_receive(asio::buffer(buffer),
                       [&](const std::error_code& ec, const Packet&) { ends.push_back(ec); });
  port_->async_send(frame(1), [&](const std::error_code& ec) { ends.push_back(ec); });
  run();
  EXPECT_THAT(ends, ElementsAre(Errc::not_listening, Errc::not_listening));
}

TEST_F(AsioCompletion, ADeletedDeviceIsTheReason) {
  listen();
  std::array<std::byte, 100> buffer;
  std::vector<std::error_code> ends;
  port_->async_receive(asio::buffer(buffer),
                       [&](const std::error_code& ec, const Packet&) { ends.push_back(ec); });
  interface().set_writable(false);
  port_->async_send(frame(1), [&](const std::error_code& ec) { ends.push_back(ec); });
  interface().remove();
  for (int turns = 0; turns < 100 && ends.size() < 2; ++turns) run();
  EXPECT_THAT(ends, ElementsAre(Errc::device_gone, Errc::device_gone));
}

TEST_F(AsioCompletion, ASecondReceiveLeavesTheFirstAlone) {
  listen();
  std::array<std::byte, 100> buffer;
  std::vector<std::error_code> ends;
  port_->async_receive(asio::buffer(buffer),
                       [&](const std::error_code& ec, const Packet&) { ends.push_back(ec); });
  asio::cancellation_signal signal;
  const auto second = [] { ADD_FAILURE() << "the second was called"; };
  EXPECT_THROW(
      port_->async_receive(asio::buffer(buffer),
                           asio::bind_cancellation_slot(
                               signal.slot(), [&](const std::error_code&, const Packet&) { second(); })),
      std::logic_error);
  signal.emit(asio::cancellation_type::all);
  run();
  EXPECT_THAT(ends, IsEmpty());
}

TEST_F(AsioCompletion, DestroyingAborts) {
  listen();
  std::array<std::byte, 100> buffer;
  std::vector<std::error_code> ends;
  asio::cancellation_signal late;
  port_->async_receive(asio::buffer(buffer),
                       asio::bind_cancellation_slot(late.slot(), [&](const std::error_code& ec,
                                                                     const Packet&) { ends.push_back(ec); }));
  interface().set_writable(false);
  port_->async_send(frame(1), [&](const std::error_code& ec) { ends.push_back(ec); });
  port_.reset();
  late.emit(asio::cancellation_type::all);
  run();
  EXPECT_THAT(ends, ElementsAre(asio::error::operation_aborted, asio::error::operation_aborted));
}

TEST_F(AsioCompletion, APortOnAnotherReactorSaysWhatItNeeds) {
  ManualReactor other;
  TuntapPort port{other, DeviceKind::tap, "tap1", PortOptions{.system = kernel_}};
  std::array<std::byte, 100> buffer;
  try {
    port.async_receive(asio::buffer(buffer), [](const std::error_code&, const Packet&) {});
    FAIL() << "an executor out of nowhere";
  } catch (const std::logic_error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("AsioReactor"));
  }
  EXPECT_THROW(port.async_send(frame(1), [](const std::error_code&) {}), std::logic_error);
}

TEST_F(AsioCompletion, DestroyingFromAHandler) {
  listen();
  std::array<std::byte, 100> buffer;
  port_->async_receive(asio::buffer(buffer), [&](const std::error_code&, const Packet&) { port_.reset(); });
  interface().inject(frame(1));
  interface().inject(frame(2));
  run();
  EXPECT_FALSE(port_);
}

TEST_F(AsioCompletion, BothAreCancellable) {
  listen();
  std::array<std::byte, 100> buffer;
  std::vector<std::error_code> ends;
  asio::cancellation_signal receive;
  asio::cancellation_signal send;
  port_->async_receive(asio::buffer(buffer), asio::bind_cancellation_slot(
                                                 receive.slot(), [&](const std::error_code& ec,
                                                                     const Packet&) { ends.push_back(ec); }));
  interface().set_writable(false);
  port_->async_send(frame(1), asio::bind_cancellation_slot(
                                  send.slot(), [&](const std::error_code& ec) { ends.push_back(ec); }));
  receive.emit(asio::cancellation_type::terminal);
  send.emit(asio::cancellation_type::terminal);
  run();
  EXPECT_THAT(ends, ElementsAre(asio::error::operation_aborted, asio::error::operation_aborted));
  interface().inject(frame(2));
  run();
  EXPECT_EQ(interface().waiting(), 1U) << "nothing reads any more";
  receive.emit(asio::cancellation_type::terminal);  // too late: no effect
  interface().set_writable(true);
  run();
  EXPECT_EQ(interface().collect().size(), 1U) << "what was queued goes out all the same";
}

TEST_F(AsioCompletion, FailuresAfterQueueingReachTheCompletion) {
  listen();
  std::vector<std::error_code> ends;
  const auto note = [&](const std::error_code& ec) { ends.push_back(ec); };
  kernel_.fail_next(Call::write, EAGAIN);
  port_->async_send(frame(1), note);
  port_->async_send(frame(2), note);
  kernel_.fail_next(Call::write, EINVAL);
  run();
  EXPECT_THAT(ends, ElementsAre(errno_code(EINVAL), std::error_code{}));
  EXPECT_EQ(port_->statistics().drops[DropReason::kernel_refused], 1U);
  ends.clear();
  kernel_.fail_next(Call::write, EAGAIN);
  port_->async_send(frame(3), note);
  port_->async_send(frame(4), note);
  interface().set_up(false);
  io_.run_for(150ms);  // the queue is tried at intervals
  EXPECT_THAT(ends, ElementsAre(Errc::link_down, Errc::link_down));
}

TEST_F(AsioCompletion, RefusalsReachTheCompletion) {
  listen();
  std::vector<std::error_code> ends;
  const auto note = [&](const std::error_code& ec) { ends.push_back(ec); };
  port_->async_send({}, note);
  port_->async_send(std::vector<std::byte>(70'000), note);
  kernel_.fail_next(Call::write, ENOBUFS);
  port_->async_send(frame(1), note);
  EXPECT_THAT(ends, IsEmpty());
  run();
  EXPECT_THAT(ends, ElementsAre(errno_code(EINVAL), errno_code(EMSGSIZE), errno_code(ENOBUFS)));
}

TEST_F(AsioCompletion, ReceivingIsExclusive) {
  listen();
  std::array<std::byte, 100> buffer;
  port_->receive(buffer, [](const std::error_code&, const Packet&) {});
  EXPECT_THROW(port_->receive(buffer, [](const std::error_code&, const Packet&) {}), std::logic_error);
  Recorder protocol;
  TuntapPort taken{reactor_, DeviceKind::tap, "tap1", protocol, {.system = kernel_}};
  taken.start_listening();
  EXPECT_THROW(taken.receive(buffer, [](const std::error_code&, const Packet&) {}), std::logic_error);
  kernel_.tunnel("tap1").set_up(true);
  std::error_code sent = Errc::not_listening;
  taken.async_send(frame(1), [&](const std::error_code& ec) { sent = ec; });
  run();
  EXPECT_FALSE(sent) << "sending is for every port";
}

}  // namespace
}  // namespace tunport
