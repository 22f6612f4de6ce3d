#include "inside_sockets.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

#include "failure.hpp"
#include "gate_sandbox.hpp"

namespace tunport::tool {
namespace {

struct Wanted {
  int family;
  int type;
};

/// Sends an errno, or zero with a descriptor.
bool answer(int line, int error, int descriptor) {
  iovec part{&error, sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  return ::sendmsg(line, &message, MSG_NOSIGNAL) >= 0;
}

[[noreturn]] void serve(int line) {
  Wanted wanted{};
  for (;;) {
    const ssize_t size = ::recv(line, &wanted, sizeof wanted, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size != sizeof wanted) ::_exit(0);
    const UniqueFd socket{::socket(wanted.family, wanted.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!answer(line, socket ? 0 : errno, socket.get())) ::_exit(0);
  }
}

}  // namespace

InsideSockets::InsideSockets(const GateSandbox& sandbox) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw Failure{status::failed, "--publish: " + errno_code(errno).message()};
  line_ = UniqueFd{ends[0]};
  const UniqueFd theirs{ends[1]};
  const timeval longest{.tv_sec = 1, .tv_usec = 0};  // the process waits for us alone
  ::setsockopt(line_.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw Failure{status::failed, "--publish: " + errno_code(errno).message()};
  if (pid_ == 0) {
    const int error = sandbox.enter();
    // The change of the user namespace clears the signal of the parent's death.
    const bool is_orphan = ::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent;
    ::prctl(PR_SET_DUMPABLE, 0);  // COMMAND may not look into it
    // Nobody else may keep the descriptors of the gate open.
    ::dup2(theirs.get(), 3);
    ::close_range(4, ~0U, 0);
    if (is_orphan || !answer(3, error, -1) || error != 0) ::_exit(1);
    serve(3);
  }
  int error = EIO;
  if (::recv(line_.get(), &error, sizeof error, 0) != sizeof error || error != 0) {
    line_.reset();
    ::waitpid(pid_, nullptr, 0);
    throw Failure{status::failed, "--publish: no way into the sandbox: " + errno_code(error).message()};
  }
}

InsideSockets::~InsideSockets() {
  line_.reset();
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

UniqueFd InsideSockets::make(int family, int type) const {
  const Wanted wanted{family, type};
  int error = 0;
  iovec part{&error, sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::send(line_.get(), &wanted, sizeof wanted, MSG_NOSIGNAL) != sizeof wanted) return {};
  ssize_t size = 0;
  do {
    size = ::recvmsg(line_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size != sizeof error) {
    if (size >= 0) errno = EIO;
    return {};
  }
  errno = error;
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (error == 0 && (header == nullptr || header->cmsg_type != SCM_RIGHTS)) errno = EIO;
  if (errno != 0) return {};
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return UniqueFd{descriptor};
}

}  // namespace tunport::tool
