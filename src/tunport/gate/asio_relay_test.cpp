#include "tunport/gate/asio_relay.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <gtest/gtest.h>
#include <unistd.h>

namespace tunport {
namespace {

using namespace std::chrono_literals;
using Tcp = asio::ip::tcp;
using Local = asio::local::stream_protocol;

class AsioRelay : public testing::Test {
 protected:
  /// Connects a peer, which is returned, to `end`.
  Tcp::socket connect(Tcp::socket& end) {
    Tcp::acceptor acceptor{io_, {asio::ip::address_v4::loopback(), 0}};
    Tcp::socket peer{io_};
    peer.connect(acceptor.local_endpoint());
    end = acceptor.accept();
    return peer;
  }
  auto told() {
    return [this](const std::error_code& ec, const RelayResult& result) {
      ++calls_;
      error_ = ec;
      result_ = result;
    };
  }
  /// Starts a relay between `a_` and `b_`.
  void start(const RelayOptions& options = {}) {
    Tcp::socket one{io_};
    Tcp::socket two{io_};
    a_ = connect(one);
    b_ = connect(two);
    relay(std::move(one), std::move(two), options, asio::bind_cancellation_slot(signal_.slot(), told()));
  }
  void run(Duration longest = 20s) {
    io_.restart();
    io_.run_for(longest);
  }

  asio::cancellation_signal signal_;
  int calls_ = 0;
  std::error_code error_;
  RelayResult result_;
  std::optional<asio::io_context> context_{std::in_place};
  asio::io_context& io_ = *context_;
  Tcp::socket a_{io_};
  Tcp::socket b_{io_};
};

TEST_F(AsioRelay, BytesPassUntilBothEnd) {
  RelayResult progress;
  start({.progress = &progress});
  const std::string sent(3'000'000, 'x');
  std::string received(sent.size(), ' ');
  std::array<char, 3> answer{};
  asio::async_write(a_, asio::buffer(sent), [&](const std::error_code&, std::size_t) {
    a_.shutdown(Tcp::socket::shutdown_send);
    asio::async_read(a_, asio::buffer(answer), [](const std::error_code&, std::size_t) {});
  });
  asio::async_read(b_, asio::buffer(received), [&](const std::error_code&, std::size_t) {
    EXPECT_EQ(progress.a_to_b, sent.size());
    EXPECT_EQ(progress.b_to_a, 0U);
    asio::write(b_, asio::buffer("yes", 3));
    b_.shutdown(Tcp::socket::shutdown_send);
  });
  run();
  EXPECT_EQ(received, sent);
  EXPECT_EQ(calls_, 1);
  EXPECT_FALSE(error_);
  EXPECT_EQ(result_.end, RelayEnd::closed);
  EXPECT_EQ(result_.a_to_b, sent.size());
  EXPECT_EQ(result_.b_to_a, 3U);
  EXPECT_EQ((std::string{answer.data(), 3}), "yes");
  EXPECT_TRUE(io_.stopped()) << "nothing is left to wait for";
}

TEST_F(AsioRelay, AResetIsNoError) {
  start();
  b_.set_option(asio::socket_base::linger{true, 0});
  b_.close();
  run();
  EXPECT_EQ(calls_, 1);
  EXPECT_FALSE(error_);
  EXPECT_EQ(result_.end, RelayEnd::reset_by_b);
  std::error_code ec;
  std::array<char, 1> buffer{};
  a_.read_some(asio::buffer(buffer), ec);
  EXPECT_EQ(ec, asio::error::connection_reset);
}

TEST_F(AsioRelay, AStreamOfEachKindIsTaken) {
  asio::generic::stream_protocol::socket any{io_};
  Local::socket peer{io_};
  {
    Local::socket end{io_};
    asio::local::connect_pair(peer, end);
    any = std::move(end);
  }
  Tcp::socket two{io_};
  b_ = connect(two);
  relay(std::move(any), std::move(two), told());
  asio::write(peer, asio::buffer("hello", 5));
  peer.close();
  std::array<char, 6> buffer{};
  std::size_t got = 0;
  asio::async_read(b_, asio::buffer(buffer), [&](const std::error_code& ec, std::size_t size) {
    EXPECT_EQ(ec, asio::error::eof);
    got = size;
    b_.close();
  });
  run();
  EXPECT_EQ(got, 5U);
  EXPECT_EQ(result_.end, RelayEnd::closed);
  EXPECT_EQ(result_.a_to_b, 5U);
}

TEST_F(AsioRelay, UrgentBytesPassInTheirPlace) {
  start();
  asio::write(a_, asio::buffer("before ", 7));
  a_.send(asio::buffer("!", 1), asio::socket_base::message_out_of_band);
  asio::write(a_, asio::buffer(" behind", 7));
  a_.close();
  std::string arrived(15, ' ');
  asio::async_read(b_, asio::buffer(arrived), [&](const std::error_code&, std::size_t) { b_.close(); });
  run();
  EXPECT_EQ(arrived, "before ! behind");
  EXPECT_EQ(calls_, 1);
}

TEST_F(AsioRelay, ASideThatHungUpCostsTheLoopNothing) {
  Local::socket peer{io_};
  Local::socket end{io_};
  asio::local::connect_pair(peer, end);
  Tcp::socket two{io_};
  b_ = connect(two);
  relay(std::move(end), std::move(two), told());
  peer.close();
  run(20ms);
  io_.restart();
  EXPECT_LE(io_.run_for(50ms), 2U) << "events";
  EXPECT_EQ(calls_, 0);
  b_.close();
  run();
  EXPECT_EQ(result_.end, RelayEnd::closed);
}

TEST_F(AsioRelay, EndsByCancellationAtAnyMoment) {
  for (int moment = 0; moment < 12; ++moment) {
    start();
    a_.non_blocking(true);
    const std::string bytes(1'000'000, 'x');
    std::error_code ec;
    for (int i = 0; i < moment; ++i) {
      a_.write_some(asio::buffer(bytes), ec);
      io_.restart();
      io_.poll_one();
    }
    signal_.emit(asio::cancellation_type::total);
    signal_.emit(asio::cancellation_type::total);
    EXPECT_EQ(calls_, 0) << "never from inside the call";
    run();
    EXPECT_EQ(calls_, 1);
    EXPECT_EQ(error_, asio::error::operation_aborted);
    EXPECT_EQ(result_.end, RelayEnd::cancelled);
    signal_.emit(asio::cancellation_type::total);  // nothing to cancel any more
    run();
    EXPECT_EQ(std::exchange(calls_, 0), 1);
  }
}

TEST_F(AsioRelay, AnIdleRelayEnds) {
  start({.idle_timeout = 20ms});
  run();
  EXPECT_EQ(calls_, 1);
  EXPECT_FALSE(error_);
  EXPECT_EQ(result_.end, RelayEnd::idle);
}

TEST_F(AsioRelay, AClosedSocketIsAnError) {
  Tcp::socket one{io_};
  a_ = connect(one);
  relay(std::move(one), Tcp::socket{io_}, told());
  EXPECT_EQ(calls_, 0) << "never from inside the call";
  run();
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(error_, std::errc::bad_file_descriptor);
  EXPECT_EQ(result_.end, RelayEnd::failed);
}

TEST_F(AsioRelay, TheCompletionRunsOnTheHandlersExecutor) {
  asio::io_context other;
  Tcp::socket one{io_};
  Tcp::socket two{io_};
  a_ = connect(one);
  b_ = connect(two);
  relay(std::move(one), std::move(two), asio::bind_executor(other, told()));
  a_.close();
  b_.close();
  run();
  EXPECT_EQ(calls_, 0);
  other.run();
  EXPECT_EQ(calls_, 1);
}

TEST_F(AsioRelay, RunsOnAStrand) {
  auto strand = asio::make_strand(io_);
  asio::basic_stream_socket<Tcp, decltype(strand)> one{strand};
  Tcp::acceptor acceptor{io_, {asio::ip::address_v4::loopback(), 0}};
  a_.connect(acceptor.local_endpoint());
  acceptor.accept(one);
  Tcp::socket two{io_};
  b_ = connect(two);
  bool on_strand = false;
  relay(std::move(one), std::move(two),
        [&](const std::error_code&, const RelayResult&) { on_strand = strand.running_in_this_thread(); });
  a_.close();
  b_.close();
  run();
  EXPECT_TRUE(on_strand);
}

TEST_F(AsioRelay, TheEndOfTheContextEndsTheRelays) {
  const auto held = std::make_shared<int>(1);
  std::array<int, 2> peers{};
  {
    asio::io_context io;
    for (int i = 0; i < 3; ++i) {
      Local::socket one{io};
      Local::socket two{io};
      Local::socket a{io};
      Local::socket b{io};
      asio::local::connect_pair(one, a);
      asio::local::connect_pair(two, b);
      asio::write(one, asio::buffer("x", 1));
      if (i == 0) peers = {one.release(), two.release()};
      relay(std::move(a), std::move(b), {.idle_timeout = 1h},
            [held](const std::error_code&, const RelayResult&) { FAIL(); });
      if (i == 1) io.poll();
    }
    EXPECT_EQ(held.use_count(), 4);
  }
  EXPECT_EQ(held.use_count(), 1);
  for (const int peer : peers) {
    const UniqueFd owned{peer};
    std::array<char, 10> buffer{};
    while (::read(peer, buffer.data(), buffer.size()) > 0) {
    }
    EXPECT_EQ(::read(peer, buffer.data(), buffer.size()), 0) << "closed";
  }
}

#ifdef ASIO_HAS_CO_AWAIT  // not with clang 14 on libstdc++
TEST_F(AsioRelay, ACoroutineWaits) {
  Tcp::socket one{io_};
  Tcp::socket two{io_};
  a_ = connect(one);
  b_ = connect(two);
  asio::co_spawn(
      io_,
      [](Tcp::socket from, Tcp::socket to, RelayResult& result) -> asio::awaitable<void> {
        result = co_await relay(std::move(from), std::move(to), asio::use_awaitable);
      }(std::move(one), std::move(two), result_),
      asio::detached);
  asio::write(a_, asio::buffer("hello", 5));
  a_.close();
  b_.shutdown(Tcp::socket::shutdown_send);
  run();
  EXPECT_EQ(result_.a_to_b, 5U);
}

TEST(AsioRelayInACoroutine, IsDestroyedWithTheContext) {
  asio::io_context io;
  Local::socket one{io};
  Local::socket a{io};
  asio::local::connect_pair(one, a);
  Local::socket two{io};
  Local::socket b{io};
  asio::local::connect_pair(two, b);
  asio::co_spawn(
      io,
      [](Local::socket from, Local::socket to) -> asio::awaitable<void> {
        co_await relay(std::move(from), std::move(to), asio::use_awaitable);
      }(std::move(a), std::move(b)),
      asio::detached);
  io.poll();
}
#endif

}  // namespace
}  // namespace tunport
