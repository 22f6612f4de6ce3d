#include "tunport/gate/relay.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/event/epoll_reactor.hpp"
#include "tunport/event/poll_reactor.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;

/// The ends of a connection: one for the test, one for the relay.
struct Connection {
  UniqueFd peer;
  UniqueFd end;
};

Connection tcp_connection() {
  const UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  UniqueFd peer{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  EXPECT_EQ(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  return {std::move(peer), UniqueFd{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)}};
}

Connection unix_connection() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void reset(UniqueFd& peer) {
  const linger at_once{1, 0};
  EXPECT_EQ(::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  peer.reset();
}

int pending_error(const UniqueFd& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  EXPECT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  return error;
}

/// Bytes whose place in a long stream is known.
class Pattern {
 public:
  explicit Pattern(unsigned seed) : bytes_(1'000'003) {
    std::mt19937 random{seed};
    std::generate(bytes_.begin(), bytes_.end(), [&] { return static_cast<char>(random()); });
  }
  /// The bytes from `place` on, at least one.
  std::string_view at(std::uint64_t place) const {
    return std::string_view{bytes_.data(), bytes_.size()}.substr(place % bytes_.size());
  }

 private:
  std::vector<char> bytes_;
};

/// The test's end of a connection: sends a stream and its end, and checks the stream that arrives.
class Peer {
 public:
  Peer(int socket, unsigned sends, unsigned expects) : socket_{socket}, out_{sends}, in_{expects} {
    ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  }
  /// Sends up to a total of `size`, then the end if `and_end`. True when all is sent.
  bool send(std::uint64_t size, bool and_end = true) {
    while (sent_ < size) {
      const std::string_view next = out_.at(sent_).substr(0, size - sent_);
      const ssize_t put = ::send(socket_, next.data(), next.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      sent_ += static_cast<std::uint64_t>(put);
    }
    if (and_end && !ended_) ended_ = ::shutdown(socket_, SHUT_WR) == 0;
    return true;
  }
  /// Receives what is there. True at the end of the stream.
  bool receive() {
    while (true) {
      const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
      if (got == 0) return true;
      if (got < 0) {
        error_ = errno;
        return false;
      }
      for (std::string_view left{buffer_.data(), static_cast<std::size_t>(got)}; !left.empty();) {
        const std::string_view part = in_.at(received_).substr(0, left.size());
        if (left.substr(0, part.size()) != part) wrong_ = true;
        received_ += part.size();
        left.remove_prefix(part.size());
      }
    }
  }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }
  bool wrong() const { return wrong_; }
  /// The errno of the last receive without bytes.
  int error() const { return error_; }

 private:
  int socket_;
  Pattern out_;
  Pattern in_;
  std::vector<char> buffer_ = std::vector<char>(std::size_t{256} << 10);
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  bool ended_ = false;
  bool wrong_ = false;
  int error_ = 0;
};

std::size_t open_pipes() {
  std::size_t pipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code gone;
    pipes += std::filesystem::read_symlink(entry.path(), gone).string().starts_with("pipe:") ? 1U : 0U;
  }
  return pipes;
}

/// A relay between two peers, on a `PollReactor`.
class RelayTest : public testing::Test {
 protected:
  enum class Kind { tcp, local };

  void start(Kind kind = Kind::tcp, RelayOptions options = {}) {
    connect(kind);
    relay(options);
  }
  void connect(Kind kind) {
    Connection one = kind == Kind::tcp ? tcp_connection() : unix_connection();
    Connection two = kind == Kind::tcp ? tcp_connection() : unix_connection();
    a_ = std::move(one.peer);
    b_ = std::move(two.peer);
    ends_ = {std::move(one.end), std::move(two.end)};
    at_a_.emplace(a_.get(), 1U, 2U);
    at_b_.emplace(b_.get(), 2U, 1U);
  }
  void relay(RelayOptions options = {}) {
    relay_.emplace(reactor_, pipes_, std::move(ends_[0]), std::move(ends_[1]), options,
                   [this](const std::error_code& ec, const RelayResult& result) {
                     ++calls_;
                     error_ = ec;
                     result_ = result;
                     relay_.reset();
                   });
  }
  /// Runs until `done`, for 20 s at most.
  template <class Done>
  bool run_until(Done done) {
    const TimePoint limit = Clock::now() + 20s;
    while (!done()) {
      if (Clock::now() > limit) return false;
      reactor_.run_once(1ms);
    }
    return true;
  }
  bool run_to_the_end() {
    return run_until([&] { return calls_ != 0; });
  }
  /// Runs until nothing was ready for some time.
  void settle() {
    for (int quiet = 0; quiet < 20;) quiet = reactor_.run_once(1ms) == 0 ? quiet + 1 : 0;
  }

  /// Has a send up to `size` bytes, until nothing moves, as b takes nothing.
  void stall(std::uint64_t size = 60'000'000) {
    std::uint64_t before = 0;
    do {
      before = at_a_->sent();
      at_a_->send(size, false);
      settle();
    } while (at_a_->sent() != before);
    EXPECT_LT(at_a_->sent(), size) << "socket buffers and a pipe hold some megabytes";
  }

  PollReactor reactor_;
  PipePool pipes_;
  UniqueFd a_;
  UniqueFd b_;
  std::array<UniqueFd, 2> ends_;
  std::optional<Peer> at_a_;
  std::optional<Peer> at_b_;
  std::optional<Relay> relay_;
  int calls_ = 0;
  std::error_code error_;
  RelayResult result_;
};

class RelayOfBothKinds : public RelayTest, public testing::WithParamInterface<int> {
 protected:
  Kind kind() const { return GetParam() == 0 ? Kind::tcp : Kind::local; }
};
INSTANTIATE_TEST_SUITE_P(Sockets, RelayOfBothKinds, testing::Values(0, 1),
                         [](const auto& of) { return of.param == 0 ? "Tcp" : "Unix"; });

TEST_P(RelayOfBothKinds, BytesPassBothWaysAtOnce) {
  constexpr std::uint64_t size = 100'000'000;
  start(kind());
  bool a_has_all = false;
  bool b_has_all = false;
  EXPECT_TRUE(run_until([&] {
    at_a_->send(size);
    at_b_->send(size + 1);
    a_has_all = a_has_all || at_a_->receive();
    b_has_all = b_has_all || at_b_->receive();
    return a_has_all && b_has_all && calls_ != 0;
  }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_EQ(at_a_->received(), size + 1);
  EXPECT_FALSE(at_a_->wrong());
  EXPECT_FALSE(at_b_->wrong());
  EXPECT_EQ(result_.end, RelayEnd::closed);
  EXPECT_EQ(result_.a_to_b, size);
  EXPECT_EQ(result_.b_to_a, size + 1);
  EXPECT_FALSE(error_);
  EXPECT_EQ(calls_, 1);
}

TEST_P(RelayOfBothKinds, AHalfCloseLeavesTheOtherWayOpen) {
  for (const bool a_first : {true, false}) {
    start(kind());
    Peer& first = a_first ? *at_a_ : *at_b_;
    Peer& second = a_first ? *at_b_ : *at_a_;
    first.send(10);
    EXPECT_TRUE(run_until([&] { return second.receive(); }));
    EXPECT_EQ(second.received(), 10U);
    settle();
    EXPECT_EQ(calls_, 0);
    bool all = false;
    EXPECT_TRUE(run_until([&] {
      second.send(5'000'000);
      all = all || first.receive();
      return all && calls_ != 0;
    }));
    EXPECT_EQ(first.received(), 5'000'000U);
    EXPECT_FALSE(first.wrong());
    EXPECT_EQ(result_.end, RelayEnd::closed);
    EXPECT_EQ(std::exchange(calls_, 0), 1);
  }
}

TEST_F(RelayTest, AResetIsPassedOn) {
  for (const bool by_a : {true, false}) {
    start();
    reset(by_a ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_a ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    EXPECT_FALSE(error_);
    Peer& other = by_a ? *at_b_ : *at_a_;
    EXPECT_FALSE(other.receive());
    EXPECT_EQ(other.error(), ECONNRESET);
    calls_ = 0;
  }
}

TEST_F(RelayTest, AResetBehindAHalfCloseIsNoticedWithNothingToSend) {
  for (const bool by_a : {true, false}) {
    start();
    Peer& first = by_a ? *at_a_ : *at_b_;
    Peer& other = by_a ? *at_b_ : *at_a_;
    first.send(10);
    ASSERT_TRUE(run_until([&] { return other.receive(); }));
    reset(by_a ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_a ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    EXPECT_EQ(pending_error(by_a ? b_ : a_), EPIPE) << "a reset in CLOSE_WAIT";
    calls_ = 0;
  }
}

TEST_P(RelayOfBothKinds, AReaderThatStopsStopsTheWriter) {
  RelayResult progress;
  start(kind(), {.progress = &progress});
  constexpr std::uint64_t size = 60'000'000;
  const std::size_t before = open_pipes();
  stall(size);
  EXPECT_EQ(open_pipes(), before + 2) << "a pipe has two ends, and the other way has none";
  EXPECT_GT(progress.a_to_b, 0U);
  EXPECT_LE(at_a_->sent() - progress.a_to_b, 20'000'000U);
  EXPECT_EQ(calls_, 0);
  at_b_->send(1000, false);
  EXPECT_TRUE(run_until([&] {
    at_a_->receive();
    return at_a_->received() == 1000;
  })) << "the other way goes on";

  EXPECT_TRUE(run_until([&] {
    at_a_->send(size);
    return at_b_->receive();
  }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_b_->wrong());
  EXPECT_EQ(progress.a_to_b, size);
}

TEST_F(RelayTest, AStalledWayNoticesTheReset) {
  for (const bool by_writer : {true, false}) {
    start();
    stall();
    reset(by_writer ? a_ : b_);
    ASSERT_TRUE(run_to_the_end());
    EXPECT_EQ(result_.end, by_writer ? RelayEnd::reset_by_a : RelayEnd::reset_by_b);
    EXPECT_EQ(pipes_.idle(), 0U) << "a pipe with bytes is not used again";
    calls_ = 0;
  }
}

TEST_F(RelayTest, IdleRelaysHoldNoPipes) {
  constexpr std::size_t count = 500;
  struct One {
    Connection a;
    Connection b;
    std::optional<Relay> relay;
  };
  std::vector<One> relays(count);
  for (One& one : relays) {
    one.a = tcp_connection();
    one.b = tcp_connection();
    one.relay.emplace(reactor_, pipes_, std::move(one.a.end), std::move(one.b.end), RelayOptions{}, nullptr);
  }
  const std::size_t before = open_pipes();
  for (One& one : relays) {
    ASSERT_EQ(::send(one.a.peer.get(), "ping", 4, 0), 4);
    ASSERT_EQ(::send(one.b.peer.get(), "pong!", 5, 0), 5);
  }
  std::size_t passed = 0;
  ASSERT_TRUE(run_until([&] {
    passed = 0;
    for (const One& one : relays) passed += one.relay->result().a_to_b + one.relay->result().b_to_a;
    return passed == count * 9;
  }));
  for (One& one : relays) {
    std::array<char, 10> buffer{};
    ASSERT_EQ(::recv(one.b.peer.get(), buffer.data(), buffer.size(), 0), 4);
    ASSERT_EQ(::recv(one.a.peer.get(), buffer.data(), buffer.size(), 0), 5);
    ASSERT_STREQ(buffer.data(), "pong!");
  }
  EXPECT_EQ(pipes_.idle(), 1U) << "all shared a pipe";
  EXPECT_EQ(open_pipes(), before + 2);
}

TEST(PipePoolTest, KeepsABoundedNumber) {
  PipePool pool{2};
  const std::size_t before = open_pipes();
  {
    std::vector<PipePool::Pipe> pipes;
    for (int i = 0; i < 5; ++i) pipes.push_back(pool.take());
    for (PipePool::Pipe& pipe : pipes) {
      EXPECT_TRUE(pipe);
      pool.give(std::move(pipe));
    }
  }
  EXPECT_EQ(pool.idle(), 2U);
  EXPECT_EQ(open_pipes(), before + 4);
}

/// No free descriptor, until the destruction.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const UniqueFd lowest{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const rlimit none{static_cast<rlim_t>(lowest.get()), before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_P(RelayOfBothKinds, WithoutADescriptorForAPipeBytesAreCopied) {
  constexpr std::uint64_t size = 10'000'000;
  start(kind());
  {
    const NoDescriptors none;
    for (int i = 0; i < 50; ++i) {
      at_a_->send(size);
      at_b_->send(size, false);
      reactor_.run_once(1ms);
    }
    EXPECT_EQ(pipes_.idle(), 0U);
    bool all = false;
    EXPECT_TRUE(run_until([&] {
      at_a_->send(size);
      at_b_->send(size, false);
      all = all || at_b_->receive();
      at_a_->receive();
      return all && at_a_->received() == size;
    })) << "the readers began late";
    EXPECT_EQ(pipes_.idle(), 0U);
  }
  at_b_->send(size + 1000);
  EXPECT_TRUE(run_until([&] { return at_a_->receive(); }));
  EXPECT_EQ(pipes_.idle(), 1U) << "with a descriptor the bytes go through a pipe again";
  EXPECT_EQ(at_a_->received(), size + 1000);
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_a_->wrong() || at_b_->wrong());
}

TEST_F(RelayTest, NoSignalForASocketThatWasClosed) {
  struct sigaction before {};
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  ASSERT_EQ(::sigaction(SIGPIPE, &fatal, &before), 0);
  start(Kind::local);
  a_.reset();
  ASSERT_TRUE(run_until([&] { return at_b_->receive(); }));
  EXPECT_EQ(calls_, 0) << "b may go on to send, as far as the relay knows";
  at_b_->send(100, false);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(result_.end, RelayEnd::reset_by_a);
  EXPECT_EQ(result_.b_to_a, 0U);
  sigset_t pending;
  sigset_t mask;
  ASSERT_EQ(::sigpending(&pending), 0);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &mask), 0);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 0);
  EXPECT_EQ(::sigaction(SIGPIPE, &before, nullptr), 0);
}

TEST_F(RelayTest, ASideThatHungUpCostsTheLoopNothing) {
  start(Kind::local);
  a_.reset();  // POLLHUP stays
  ASSERT_TRUE(run_until([&] { return at_b_->receive(); }));
  settle();  // does not return while events come
  EXPECT_EQ(calls_, 0);
  ::shutdown(b_.get(), SHUT_WR);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(result_.end, RelayEnd::closed);
}

TEST_F(RelayTest, BytesBeforeAHangUpArriveThroughAStalledWay) {
  constexpr std::uint64_t size = 3'000'000;
  start(Kind::local);
  // The last bytes are in the socket of a when a goes away, as b has no room.
  do settle();
  while (!at_a_->send(size, false) && [&] {
    at_b_->receive();
    return true;
  }());
  a_.reset();
  settle();
  EXPECT_TRUE(run_until([&] { return at_b_->receive(); }));
  EXPECT_EQ(at_b_->received(), size);
  EXPECT_FALSE(at_b_->wrong());
}

TEST_F(RelayTest, UrgentBytesPassInTheirPlace) {
  start();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(::send(a_.get(), "before ", 7, 0), 7);
    ASSERT_EQ(::send(a_.get(), "!", 1, MSG_OOB), 1);
    ASSERT_EQ(::send(a_.get(), " behind", 7, 0), 7);
    std::string arrived;
    ASSERT_TRUE(run_until([&] {
      std::array<char, 100> buffer{};
      if (const ssize_t got = ::recv(b_.get(), buffer.data(), buffer.size(), 0); got > 0)
        arrived.append(buffer.data(), static_cast<std::size_t>(got));
      return arrived.size() >= 15;
    })) << arrived;
    EXPECT_EQ(arrived, "before ! behind");
  }
}

TEST_F(RelayTest, UrgentBytesThatWaitDoNotSpinTheLoop) {
  start();
  stall();
  // Room for the urgent byte: b takes a little, and the bytes in front fill the way again.
  std::array<char, 100'000> some{};
  ASSERT_GT(::recv(b_.get(), some.data(), some.size(), 0), 0);
  ASSERT_TRUE(run_until([&] {
    return ::send(a_.get(), "!", 1, MSG_OOB) == 1 || ::recv(b_.get(), some.data(), some.size(), 0) == 0;
  }));
  std::size_t events = 0;
  const TimePoint start = Clock::now();
  while (Clock::now() < start + 200ms) events += reactor_.run_once(10ms);
  EXPECT_LT(events, 400U) << "some each 10 ms";
  EXPECT_EQ(calls_, 0);
}

TEST_F(RelayTest, AnIdleRelayEnds) {
  start(Kind::tcp, {.idle_timeout = 50ms});
  const TimePoint began = Clock::now();
  for (std::uint64_t i = 1; i <= 10; ++i) {
    at_a_->send(i, false);
    ASSERT_TRUE(run_until([&] { return calls_ != 0 || relay_->result().a_to_b == i; }));
    if (calls_ != 0) break;  // a slow machine
    const TimePoint next = Clock::now() + 10ms;
    run_until([&] { return Clock::now() >= next; });
  }
  const TimePoint last = Clock::now();
  ASSERT_TRUE(run_to_the_end());
  EXPECT_GE(Clock::now() - began, 50ms);
  EXPECT_GE(Clock::now() - last, 30ms - 10ms);
  EXPECT_EQ(result_.end, RelayEnd::idle);
  EXPECT_FALSE(error_);
  EXPECT_FALSE(at_b_->receive());
  EXPECT_EQ(at_b_->error(), ECONNRESET);
}

TEST_F(RelayTest, ACancelledRelayResetsBothAtOnce) {
  start();
  stall();
  relay_->cancel();
  relay_->cancel();
  EXPECT_EQ(calls_, 0) << "not from inside the call";
  at_a_->receive();
  EXPECT_EQ(at_a_->error(), ECONNRESET);
  ASSERT_TRUE(run_to_the_end());
  EXPECT_EQ(error_, Errc::operation_aborted);
  EXPECT_EQ(result_.end, RelayEnd::cancelled);
  EXPECT_GT(result_.a_to_b, 0U);
  settle();
  EXPECT_EQ(calls_, 1);
}

TEST_F(RelayTest, ADestroyedRelayResetsBothAndTellsNobody) {
  start();
  at_a_->send(1000, false);
  settle();
  relay_.reset();
  at_a_->receive();
  EXPECT_EQ(at_a_->error(), ECONNRESET);
  settle();
  EXPECT_EQ(calls_, 0);

  start();
  relay_->cancel();
  relay_.reset();
  settle();
  EXPECT_EQ(calls_, 0);
}

TEST_F(RelayTest, AFloodLeavesTurnsToOthers) {
  start();
  std::atomic<bool> stop{false};
  std::thread writer{[&] {
    while (!stop) at_a_->send(UINT64_MAX, false);
  }};
  std::thread reader{[&] {
    while (!stop) at_b_->receive();
  }};
  int turns = 0;
  std::function<void()> turn = [&] {
    if (++turns < 100) reactor_.post(turn);
  };
  reactor_.post(turn);
  EXPECT_TRUE(run_until([&] { return turns == 100 && relay_->result().a_to_b > 50'000'000; }));
  stop = true;
  writer.join();
  reader.join();
  EXPECT_FALSE(at_b_->wrong());
}

TEST_F(RelayTest, AClosedSocketIsAnError) {
  connect(Kind::tcp);
  ends_[1].reset();
  EXPECT_THROW(relay(), Error);
  EXPECT_FALSE(at_a_->receive());
  EXPECT_EQ(at_a_->error(), ECONNRESET);
}

TEST(RelayOnEpoll, BytesPass) {
  EpollReactor reactor;
  PipePool pipes;
  Connection a = tcp_connection();
  Connection b = tcp_connection();
  std::optional<RelayResult> end;
  const Relay relay{
      reactor,          pipes, std::move(a.end),
      std::move(b.end), {},    [&](const std::error_code&, const RelayResult& result) { end = result; }};
  Peer at_a{a.peer.get(), 1, 2};
  Peer at_b{b.peer.get(), 2, 1};
  const TimePoint limit = Clock::now() + 20s;
  while (!end && Clock::now() < limit) {
    at_a.send(20'000'000);
    if (at_b.receive()) at_b.send(10);
    at_a.receive();
    reactor.run_ready();
  }
  ASSERT_TRUE(end);
  EXPECT_EQ(end->end, RelayEnd::closed);
  EXPECT_EQ(at_b.received(), 20'000'000U);
  EXPECT_FALSE(at_b.wrong());
}

}  // namespace
}  // namespace tunport
