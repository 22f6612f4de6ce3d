#pragma once
/// Connections, peers that check their streams, and a relay between two of them: for the tests of relays.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/gate/relay.hpp"

namespace tunport::relay_test {

using namespace std::chrono_literals;

/// The ends of a connection: one for the test, one for the relay.
struct Connection {
  UniqueFd peer;
  UniqueFd end;
};

inline Connection tcp_connection() {
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

inline Connection unix_connection() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

inline void reset(UniqueFd& peer) {
  const linger at_once{1, 0};
  EXPECT_EQ(::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  peer.reset();
}

inline int pending_error(const UniqueFd& socket) {
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

inline std::size_t open_pipes() {
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

}  // namespace tunport::relay_test
