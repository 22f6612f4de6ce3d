#include "child.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

/// The rest of the forked child's life; only what is safe after fork.
[[noreturn]] void run(char* const* arguments, Child::Output output, pid_t parent, int report) {
  const auto give_up = [report] {
    const int error = errno;
    (void)!::write(report, &error, sizeof error);
    ::_exit(status::not_found);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(status::failed);  // it died before the line above
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGPIPE}) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (output == Child::Output::to_stderr && ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) give_up();
  ::execvp(arguments[0], arguments);
  give_up();
  ::_exit(status::not_found);
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

/// There is no process to run it in: not the command's fault.
Failure no_process(const std::string& name, int error) {
  const std::string_view known = remedy(errno_code(error));
  const std::string what_to_do = error == EAGAIN   ? "raise the limit of processes ('ulimit -u')"
                                 : error == ENOMEM ? "there is too little memory; end something else"
                                                   : std::string{known};
  return {status::failed, "command '" + name + "': no process for it: " + std::strerror(error) +
                              (what_to_do.empty() ? "" : "; ") + what_to_do};
}

}  // namespace

Child Child::start(const std::vector<std::string>& command, Output output) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw no_process(command.front(), errno);
  const UniqueFd reading{ends[0]};
  UniqueFd writing{ends[1]};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw no_process(command.front(), errno);
  if (pid == 0) run(arguments.data(), output, parent, writing.get());
  writing.reset();

  Child child{pid};
  // Closed without a word once the child's exec has succeeded.
  int error = 0;
  ssize_t got = 0;
  do got = ::read(reading.get(), &error, sizeof error);
  while (got < 0 && errno == EINTR);
  if (got == sizeof error) throw cannot_run(command.front(), error);
  return child;
}

Child::~Child() {
  if (pid_ <= 0) return;
  send(SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> Child::poll() {
  int how = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &how, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return WIFSIGNALED(how) ? status::signalled + WTERMSIG(how) : WEXITSTATUS(how);
}

void Child::send(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

bool Child::in_our_group() const { return ::getpgid(pid_) == ::getpgrp(); }

}  // namespace tunport::tool
