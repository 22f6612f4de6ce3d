#include <array>
#include <cerrno>
#include <chrono>
#include <memory>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/port/asio_completion.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Endpoint any() { return {*IpAddress::parse("127.0.0.1"), 0}; }

/// Two ports without protocols, on the fake kernel.
class UdpCompletion : public testing::Test {
 protected:
  UdpCompletion() {
    left->start_listening();
    right.start_listening();
  }
  void run() {
    io.restart();
    io.run_for(20ms);
  }
  void receive() {
    left->async_receive(asio::buffer(buffer), [this](const std::error_code& ec, const Datagram& datagram) {
      ends.push_back(ec);
      if (!ec) heard.emplace_back(as_text(datagram.data));
      last = datagram;
      if (again) receive();
    });
  }

  MemorySystem kernel;
  asio::io_context io;
  AsioReactor reactor{io};
  std::unique_ptr<UdpPort> left = std::make_unique<UdpPort>(reactor, any(), PortOptions{.system = kernel});
  UdpPort right{reactor, any(), PortOptions{.system = kernel}};
  std::array<std::byte, 100> buffer{};
  std::vector<std::error_code> ends;
  std::vector<std::string> heard;
  Datagram last;
  bool again = false;
};

TEST_F(UdpCompletion, DatagramsAreReceivedOneByOne) {
  right.write_to(left->get_host(), as_bytes("one"));
  right.write_to(left->get_host(), as_bytes("two"));
  run();
  EXPECT_THAT(heard, IsEmpty()) << "the port reads only while a receive is outstanding";
  receive();
  run();
  EXPECT_THAT(heard, ElementsAre("one"));
  EXPECT_EQ(last.from, right.get_host());
  EXPECT_EQ(last.to, left->get_host());
  EXPECT_EQ(last.data.data(), buffer.data());
  receive();
  run();
  EXPECT_THAT(heard, ElementsAre("one", "two"));
}

TEST_F(UdpCompletion, ARunIsReceivedDatagramByDatagram) {
  {
    const Cork cork{reactor};
    for (const char* text : {"aa", "bb", "c"}) right.write_to(left->get_host(), as_bytes(text));
  }
  receive();
  run();
  EXPECT_THAT(heard, ElementsAre("aa"));
  right.write_to(left->get_host(), {});
  again = true;
  receive();
  run();
  EXPECT_THAT(heard, ElementsAre("aa", "bb", "c", ""));
  EXPECT_EQ(left->statistics().super_packets_in, 1U);
  again = false;
}

TEST_F(UdpCompletion, AStopCountsTheRestOfARun) {
  {
    const Cork cork{reactor};
    for (const char* text : {"aa", "bb", "cc"}) right.write_to(left->get_host(), as_bytes(text));
  }
  receive();
  run();
  left->stop_listening();
  run();
  EXPECT_EQ(left->statistics().drops[DropReason::aborted], 2U);
  receive();
  run();
  EXPECT_EQ(ends.back(), Errc::not_listening);
}

TEST_F(UdpCompletion, AShortBufferIsSaid) {
  right.write_to(left->get_host(), std::vector<std::byte>(101));
  receive();
  run();
  EXPECT_TRUE(last.truncated);
  EXPECT_EQ(last.data.size(), 100U);
}

TEST_F(UdpCompletion, SendsComplete) {
  std::vector<std::error_code> sent;
  const auto note = [&](const std::error_code& ec) { sent.push_back(ec); };
  kernel.fail_next(Call::sendmsg, EAGAIN);
  right.async_send(left->get_host(), as_bytes("queued"), note);
  right.async_send(left->get_host(), as_bytes("behind"), note);
  right.async_send({*IpAddress::parse("::1"), 1}, as_bytes("x"), note);
  EXPECT_THAT(sent, IsEmpty());
  run();
  EXPECT_THAT(sent,
              testing::UnorderedElementsAre(std::error_code{}, std::error_code{}, errno_code(EHOSTUNREACH)));
}

TEST_F(UdpCompletion, BothAreCancellableAndDestroyingAborts) {
  asio::cancellation_signal signal;
  left->async_receive(asio::buffer(buffer), asio::bind_cancellation_slot(
                                                signal.slot(), [&](const std::error_code& ec,
                                                                   const Datagram&) { ends.push_back(ec); }));
  signal.emit(asio::cancellation_type::terminal);
  run();
  EXPECT_THAT(ends, ElementsAre(asio::error::operation_aborted));
  EXPECT_THROW(
      {
        receive();
        receive();
      },
      std::logic_error);
  left.reset();
  run();
  EXPECT_THAT(ends, ElementsAre(asio::error::operation_aborted, asio::error::operation_aborted));
}

#ifdef ASIO_HAS_CO_AWAIT  // not with clang 14 on libstdc++
TEST_F(UdpCompletion, ACoroutineServes) {
  asio::co_spawn(
      io,
      [](UdpPort& port) -> asio::awaitable<void> {
        std::array<std::byte, 2048> space;
        for (int i = 0; i < 2; ++i) {
          const Datagram datagram = co_await port.async_receive(asio::buffer(space), asio::use_awaitable);
          co_await port.async_send(datagram.from, datagram.data, asio::use_awaitable);
        }
      }(right),
      asio::detached);
  left->write_to(right.get_host(), as_bytes("one"));
  left->write_to(right.get_host(), as_bytes("two"));
  again = true;
  receive();
  run();
  EXPECT_THAT(heard, ElementsAre("one", "two"));
  again = false;
  left.reset();
  run();
}
#endif

}  // namespace
}  // namespace tunport
