#include "inside_sockets.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <string>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

#include "descriptors.hpp"
#include "failure.hpp"

namespace tunport::tool {
namespace {

constexpr timeval longest_entrance{.tv_sec = 10, .tv_usec = 0};
constexpr timeval longest_answer{.tv_sec = 1, .tv_usec = 0};  // the maker waits for us alone

struct Wanted {
  std::uint32_t turn;
  int family;
  int type;
};

/// With a socket beside, or with an errno.
struct Answer {
  std::uint32_t turn;
  int error;
};

/// An answer with room for a descriptor.
struct AnswerMessage {
  explicit AnswerMessage(Answer& answer) : part{&answer, sizeof answer} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }

  iovec part;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
};

bool send(int line, Answer answer, int descriptor) {
  AnswerMessage message{answer};
  if (descriptor >= 0) {
    cmsghdr* const beside = CMSG_FIRSTHDR(&message.header);
    beside->cmsg_level = SOL_SOCKET;
    beside->cmsg_type = SCM_RIGHTS;
    beside->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(beside), &descriptor, sizeof descriptor);
  } else {
    message.header.msg_control = nullptr;
    message.header.msg_controllen = 0;
  }
  return ::sendmsg(line, &message.header, MSG_NOSIGNAL) >= 0;
}

/// Waits for the answer of a turn. Without a socket errno says why; zero: the answer has none.
UniqueFd receive(int line, std::uint32_t turn) {
  for (;;) {
    Answer answer{};
    AnswerMessage message{answer};
    const ssize_t size = ::recvmsg(line, &message.header, MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) errno = ETIMEDOUT;
    if (size == 0) errno = ECONNRESET;
    if (size <= 0) return {};
    UniqueFd socket;
    const cmsghdr* const beside = CMSG_FIRSTHDR(&message.header);
    if (beside != nullptr && beside->cmsg_type == SCM_RIGHTS && beside->cmsg_len == CMSG_LEN(sizeof(int))) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(beside), sizeof descriptor);
      socket.reset(descriptor);
    }
    if (answer.turn != turn) continue;
    errno = answer.error;
    if ((message.header.msg_flags & MSG_CTRUNC) != 0) errno = EMFILE;  // the kernel found no room for it here
    return socket;
  }
}

/// The maker's life.
[[noreturn]] void make_sockets(int line, const std::function<int()>& enter, pid_t parent) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::setsid();
  ::prctl(PR_SET_NAME, "tunport-inside");
  const int error = enter();
  // The change of the user namespace clears the signal of the parent's death.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(status::failed);
  ::prctl(PR_SET_DUMPABLE, 0);
  (void)!::chdir("/");
  close_all(0, line);
  close_all(line + 1, std::numeric_limits<int>::max());
  if (!send(line, {.turn = 0, .error = error}, -1) || error != 0) ::_exit(status::failed);
  for (;;) {
    Wanted wanted{};
    const ssize_t size = ::recv(line, &wanted, sizeof wanted, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size != static_cast<ssize_t>(sizeof wanted)) ::_exit(0);
    const UniqueFd socket{::socket(wanted.family, wanted.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!send(line, {.turn = wanted.turn, .error = socket ? 0 : errno}, socket.get())) ::_exit(0);
  }
}

}  // namespace

InsideSockets::InsideSockets(const std::function<int()>& enter) {
  const auto fail = [](const std::string& what, int error) {
    throw Failure{status::failed, "--publish: " + what + ": " + cause(errno_code(error))};
  };
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) fail("no socket", errno);
  line_.reset(ends[0]);
  UniqueFd theirs{ends[1]};
  ::setsockopt(line_.get(), SOL_SOCKET, SO_RCVTIMEO, &longest_entrance, sizeof longest_entrance);
  ::setsockopt(line_.get(), SOL_SOCKET, SO_SNDTIMEO, &longest_answer, sizeof longest_answer);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail("no process", errno);
  if (pid_ == 0) make_sockets(theirs.get(), enter, parent);
  theirs.reset();
  receive(line_.get(), turn_);
  if (const int error = errno; error != 0) {
    end();
    fail("no way into the sandbox", error);
  }
  ::setsockopt(line_.get(), SOL_SOCKET, SO_RCVTIMEO, &longest_answer, sizeof longest_answer);
}

InsideSockets::~InsideSockets() { end(); }

void InsideSockets::end() noexcept {
  line_.reset();
  ::kill(pid_, SIGKILL);  // COMMAND may have stopped the maker
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

UniqueFd InsideSockets::make(int family, int type) {
  const Wanted wanted{.turn = ++turn_, .family = family, .type = type};
  ssize_t size = 0;
  do size = ::send(line_.get(), &wanted, sizeof wanted, MSG_NOSIGNAL);
  while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN) errno = ETIMEDOUT;
    return {};
  }
  UniqueFd socket = receive(line_.get(), wanted.turn);
  if (!socket && errno == 0) errno = EIO;
  return socket;
}

}  // namespace tunport::tool
