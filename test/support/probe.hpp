#pragma once
/// The kit of reactor tests: a descriptor that counts its calls, and a socket for events.

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/file_descriptor.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// A connected pair of stream sockets.
struct SocketPair {
  SocketPair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
      ADD_FAILURE() << errno;
    near.reset(ends[0]);
    far.reset(ends[1]);
  }
  void send() const { EXPECT_EQ(::send(far.get(), "x", 1, MSG_NOSIGNAL), 1); }
  /// Closes the far end with unread data: an error for the near end.
  void break_off() {
    ::send(near.get(), "x", 1, MSG_NOSIGNAL);
    far.reset();
  }
  UniqueFd near;
  UniqueFd far;
};

/// A descriptor that counts its calls, and runs the test's hooks.
class Probe : public FileDescriptor {
 public:
  Probe(Reactor& reactor, int number, bool attached = true) : FileDescriptor{reactor}, number_{number} {
    if (attached) attach();
  }
  using FileDescriptor::attach;
  using FileDescriptor::detach;
  using FileDescriptor::pause_producer;
  using FileDescriptor::pull_from_producer;
  using FileDescriptor::resume_producer;
  using FileDescriptor::stop_producer;

  int fileno() const override { return number_; }
  void close() {
    detach();
    number_ = -1;
  }
  void do_read() override {
    ++reads;
    if (on_read) on_read();
  }
  void do_write() override {
    ++writes;
    if (on_write) on_write();
  }
  void do_error() override {
    ++errors;
    if (on_error) on_error();
  }
  std::size_t write_some_data(Bytes, std::error_code& ec) override {
    ec = errno_code(EAGAIN);
    return 0;
  }
  void connection_lost(const std::error_code& reason) override { lost.push_back(reason); }
  void lose_connection() override { ++loses; }
  void lose_write_connection() override {}
  void producer_gone() override { ++producers_gone; }
  /// Reads until the socket is empty.
  void take() const {
    std::array<char, 64> buffer{};
    while (::recv(number_, buffer.data(), buffer.size(), 0) > 0) {
    }
  }

  int reads = 0;
  int writes = 0;
  int errors = 0;
  int loses = 0;
  int producers_gone = 0;
  std::vector<std::error_code> lost;
  std::function<void()> on_read;
  std::function<void()> on_write;
  std::function<void()> on_error;

 private:
  int number_;
};

using std::chrono::milliseconds;

}  // namespace tunport
