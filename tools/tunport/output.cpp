#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <limits>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tunport/base/unique_fd.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds between_tries{50};
constexpr milliseconds brief{1000};

/// True if a blocked signal is waiting that asks us to end. Other signals end us by themselves.
bool is_asked_to_end() {
  sigset_t pending;
  if (::sigpending(&pending) != 0) return false;
  ::sigdelset(&pending, SIGCHLD);
  return ::sigisemptyset(&pending) == 0;
}

/// Writes without ever blocking.
class Sink {
 public:
  explicit Sink(int fd) : fd_{fd} {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return;
    is_socket_ = S_ISSOCK(status.st_mode);
    if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) return;
    // COMMAND shares the description behind `fd`, and expects blocking writes.
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    own_.reset(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  }

  /// What write(2) returns; EAGAIN if the reader has to read first.
  ssize_t write(std::string_view text) const {
    if (is_socket_) return ::send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (own_) return ::write(own_.get(), text.data(), text.size());
    // Opening anew is not permitted. A file that poll(2) calls writable takes a small piece.
    constexpr std::size_t piece = 512;
    pollfd entry{fd_, POLLOUT, 0};
    if (::poll(&entry, 1, 0) == 0) {
      errno = EAGAIN;
      return -1;
    }
    return ::write(fd_, text.data(), std::min(piece, text.size()));
  }

  void wait() const {
    pollfd entry{fd_, POLLOUT, 0};
    ::poll(&entry, 1, static_cast<int>(between_tries.count()));
  }

 private:
  int fd_;
  bool is_socket_ = false;
  UniqueFd own_;
};

/// Zero, or the errno: EAGAIN without a reader in time.
int write_all(int fd, std::string_view text, Patience patience) {
  const Sink sink{fd};
  milliseconds waited{0};
  while (!text.empty()) {
    const ssize_t written = sink.write(text);
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      waited = milliseconds{0};
    } else if (written == 0 || errno == EAGAIN) {
      if (patience == Patience::brief || is_asked_to_end()) waited += between_tries;
      if (waited > brief) return EAGAIN;
      sink.wait();
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

void print(int fd, std::string_view text, Patience patience) {
  const int error = write_all(fd, text, patience);
  if (error == 0 || error == EPIPE) return;
  const std::string name = fd == STDERR_FILENO ? "standard error: " : "standard output: ";
  if (error != EAGAIN) throw Failure{status::failed, name + std::strerror(error) + "; send it elsewhere"};
  print_error(name + "nobody reads it, so a part is lost; read it, or send it elsewhere");
}

void print_error(std::string_view line) noexcept try {
  std::string text = "tunport: ";
  for (const char c : line) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  text += '\n';
  // In a single write, so that the line stays whole beside COMMAND's.
  write_all(STDERR_FILENO, text, Patience::brief);
} catch (...) {  // no memory for a line: the status tells
}

unsigned columns_of(int fd) noexcept {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col
                                                                 : std::numeric_limits<unsigned>::max();
}

void ensure_standard_descriptors() noexcept {
  // Each open takes the lowest free number.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", O_RDWR);
}

}  // namespace tunport::tool
