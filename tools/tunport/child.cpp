#include "child.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"

#include "descriptors.hpp"
#include "failure.hpp"

namespace tunport::tool {
namespace {

/// Becomes the user who called sudo. There is one thread, so the environment may change after fork.
bool become(const Account& account) {
  if (::setgroups(account.groups.size(), account.groups.data()) != 0 ||
      ::setresgid(account.gid, account.gid, account.gid) != 0 ||
      ::setresuid(account.uid, account.uid, account.uid) != 0)
    return false;
  return account.name.empty() ||
         (::setenv("HOME", account.home.c_str(), 1) == 0 && ::setenv("USER", account.name.c_str(), 1) == 0 &&
          ::setenv("LOGNAME", account.name.c_str(), 1) == 0);
}

/// The rest of the forked child's life; only what is safe after fork.
[[noreturn]] void run(char* const* arguments, Child::Output output, const std::optional<Account>& account,
                      const std::function<int()>& enter, pid_t parent, int go, int report) {
  const auto give_up = [report] {
    const int error = errno;
    (void)!::write(report, &error, sizeof error);
    ::_exit(status::not_found);
  };
  if (enter && (errno = enter()) != 0) give_up();
  if (account && !become(*account)) give_up();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);                  // forgotten at a change of the user
  if (::getppid() != parent) ::_exit(status::failed);  // the parent died before the line above
  char byte = 0;
  if (::read(go, &byte, 1) != 1) ::_exit(status::failed);  // there is no guard
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGPIPE}) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (output == Child::Output::to_stderr && ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) give_up();
  ::execvp(arguments[0], arguments);
  give_up();
  ::_exit(status::not_found);
}

/// The guard's life: see the theory in child.hpp.
[[noreturn]] void guard(int command, int life) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::setsid();
  ::prctl(PR_SET_NAME, "tunport-guard");
  (void)!::chdir("/");
  for (const auto& [from, to] : {std::pair{0, std::min(command, life)},
                                 {std::min(command, life) + 1, std::max(command, life)},
                                 {std::max(command, life) + 1, std::numeric_limits<int>::max()}})
    close_all(from, to);
  pollfd entries[] = {{life, POLLIN, 0}, {command, POLLIN, 0}};
  while (::poll(entries, std::size(entries), -1) < 0) {
  }
  if (entries[1].revents == 0) ::syscall(SYS_pidfd_send_signal, command, SIGKILL, nullptr, 0);
  ::_exit(0);
}

Failure cannot_run(const std::string& name, int error) {
  const std::string subject = "command '" + name + "': ";
  if (error == ENOENT || error == ENOTDIR) {
    if (name.find('/') == std::string::npos)
      return {status::not_found, subject + "not found in PATH; install it, or write its path"};
    if (::access(name.c_str(), F_OK) == 0)
      return {status::not_executable, subject + "the interpreter that it names is not there; install that"};
    return {status::not_found, subject + "there is no such file; check the path"};
  }
  if (error == EACCES)
    return {status::not_executable, subject + "not permitted to run it; it must be a file with 'chmod +x'"};
  return {status::not_executable, subject + std::strerror(error) + "; it cannot be run"};
}

/// There is no process for the command: not the command's fault.
Failure no_process(const std::string& name, int error) {
  const std::string_view known = remedy(errno_code(error));
  const std::string what_to_do = error == EAGAIN   ? "raise the limit of processes ('ulimit -u')"
                                 : error == ENOMEM ? "there is too little memory; end something else"
                                                   : std::string{known};
  return {status::failed, "command '" + name + "': no process for it: " + std::strerror(error) +
                              (what_to_do.empty() ? "" : "; ") + what_to_do};
}

struct Pipe {
  explicit Pipe(const std::string& name) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw no_process(name, errno);
    reading.reset(ends[0]);
    writing.reset(ends[1]);
  }
  UniqueFd reading;
  UniqueFd writing;
};

}  // namespace

Child Child::start(const std::vector<std::string>& command, Output output,
                   const std::optional<Account>& account, const std::function<int()>& enter) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  Pipe report{command.front()};
  Pipe go{command.front()};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw no_process(command.front(), errno);
  if (pid == 0) {
    go.writing.reset();
    run(arguments.data(), output, account, enter, parent, go.reading.get(), report.writing.get());
  }
  report.writing.reset();

  Child child{pid};
  child.start_guard(command.front());
  ssize_t told = 0;
  do told = ::write(go.writing.get(), "", 1);
  while (told < 0 && errno == EINTR);
  if (told != 1) {
    const int error = errno;
    go.writing.reset();  // the child waits for a word or for this
    throw Failure{status::failed, "command '" + command.front() + "': it could not be told to start: " +
                                      std::strerror(error) + "; try again"};
  }
  // Closed without a word once the child's exec has succeeded.
  int error = 0;
  ssize_t got = 0;
  do got = ::read(report.reading.get(), &error, sizeof error);
  while (got < 0 && errno == EINTR);
  if (got == sizeof error) throw cannot_run(command.front(), error);
  return child;
}

void Child::start_guard(const std::string& name) {
  const UniqueFd command{static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))};
  if (!command && errno == ENOSYS) return;
  if (!command) throw no_process(name, errno);
  Pipe life{name};
  guard_ = ::fork();
  if (guard_ < 0) throw no_process(name, errno);
  if (guard_ == 0) {
    life.writing.reset();
    guard(command.get(), life.reading.get());
  }
  life_ = std::move(life.writing);
}

Child::Child(Child&& other) noexcept
    : pid_{std::exchange(other.pid_, -1)},
      guard_{std::exchange(other.guard_, -1)},
      life_{std::move(other.life_)} {}

Child::~Child() {
  const auto reap = [](pid_t pid) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  };
  if (pid_ > 0 && send(SIGKILL)) reap(pid_);
  if (guard_ <= 0) return;
  ::kill(guard_, SIGKILL);
  reap(guard_);
}

std::optional<int> Child::poll() {
  int how = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &how, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return WIFSIGNALED(how) ? status::signalled + WTERMSIG(how) : WEXITSTATUS(how);
}

bool Child::send(int signal) const { return pid_ <= 0 || ::kill(pid_, signal) == 0 || errno != EPERM; }

bool Child::in_our_group() const { return ::getpgid(pid_) == ::getpgrp(); }

}  // namespace tunport::tool
