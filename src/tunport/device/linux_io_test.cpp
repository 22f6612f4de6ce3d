#include <cerrno>
#include <csignal>

#include <gtest/gtest.h>
#include <sys/time.h>
#include <unistd.h>

#include "tunport/device/io_system.hpp"

namespace tunport {
namespace {

int pipe_end = -1;
void put_byte(int) { [[maybe_unused]] const ssize_t written = ::write(pipe_end, "x", 1); }
void do_nothing(int) {}

/// A timer whose signal interrupts system calls.
class Alarm {
 public:
  Alarm(void (*handler)(int), long microseconds, long again) {
    struct sigaction action {};
    action.sa_handler = handler;
    ::sigaction(SIGALRM, &action, &before_);
    const itimerval timer{{0, again}, {0, microseconds}};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
  }
  ~Alarm() {
    const itimerval none{};
    ::setitimer(ITIMER_REAL, &none, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

 private:
  struct sigaction before_ {};
};

class LinuxIoTest : public testing::Test {
 protected:
  LinuxIoTest() {
    EXPECT_EQ(::pipe(ends_), 0);
    pipe_end = ends_[1];
  }
  ~LinuxIoTest() override {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  ssize_t read() {
    char byte{};
    return linux_io().read(ends_[0], &byte, 1);
  }
  int ends_[2]{};
};

TEST_F(LinuxIoTest, ASignalDoesNotEndACall) {
  const Alarm alarm{put_byte, 2000, 0};
  EXPECT_EQ(read(), 1);
}

TEST_F(LinuxIoTest, AFloodOfSignalsDoes) {
  const Alarm alarm{do_nothing, 1000, 1000};
  EXPECT_EQ(read(), -EINTR);
}

}  // namespace
}  // namespace tunport
