#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tunport/testing/readiness_internal.hpp"

namespace tunport {
namespace {

constexpr char token = 0;

bool is_writable(int fd) {
  pollfd entry{fd, POLLOUT, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0;
}

}  // namespace

int Readiness::open(int flags) {
  std::array<int, 2> ends{};
  const int close_on_exec = (flags & O_CLOEXEC) != 0 ? SOCK_CLOEXEC : 0;
  if (::socketpair(AF_UNIX, SOCK_STREAM | close_on_exec, 0, ends.data()) != 0) return -errno;
  UniqueFd given{ends[0]};
  ours_.reset(ends[1]);
  const int least = 1;  // the kernel raises the size to a minimum
  if (::setsockopt(given.get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least) != 0 ||
      ::fcntl(ours_.get(), F_SETFD, FD_CLOEXEC) != 0 || ::fcntl(ours_.get(), F_SETFL, O_NONBLOCK) != 0 ||
      ((flags & O_NONBLOCK) != 0 && ::fcntl(given.get(), F_SETFL, O_NONBLOCK) != 0))
    return -errno;
  number_ = given.get();
  identity_ = identity_of(number_);
  return given.release();
}

std::uint64_t Readiness::identity_of(int fd) {
  struct stat status {};
  return fd >= 0 && ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

int Readiness::number() {
  if (identity_of(number_) == identity_) return number_;
  number_ = -1;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", ec}) {
    const std::string text = entry.path().filename();
    int fd = -1;
    std::from_chars(text.data(), text.data() + text.size(), fd);
    if (identity_of(fd) == identity_) return number_ = fd;
  }
  return -1;
}

void Readiness::set_readable(bool readable) {
  if (readable == readable_ || !ours_) return;
  if (readable) {
    readable_ = ::send(ours_.get(), &token, 1, MSG_NOSIGNAL) == 1;
  } else if (const int fd = number(); fd >= 0) {
    char taken = 0;
    readable_ = ::recv(fd, &taken, 1, MSG_DONTWAIT) != 1;
  }
}

void Readiness::set_writable(bool writable) {
  if (writable == writable_ || !ours_) return;
  if (writable) {
    std::array<char, 512> taken{};
    while (::recv(ours_.get(), taken.data(), taken.size(), 0) > 0) {
    }
    writable_ = true;
  } else if (const int fd = number(); fd >= 0) {
    fill(fd);
    writable_ = false;
  }
}

void Readiness::fill(int fd) {
  while (is_writable(fd) && ::send(fd, &token, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
  }
}

void Readiness::hang_up() {
  if (!ours_) return;
  // An unread byte turns the hang-up into an error (ECONNRESET), too.
  if (const int fd = number(); fd >= 0) ::send(fd, &token, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  ours_.reset();
}

bool Readiness::abandoned() const {
  pollfd entry{ours_.get(), 0, 0};
  return ours_ && ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLHUP) != 0;
}

}  // namespace tunport
