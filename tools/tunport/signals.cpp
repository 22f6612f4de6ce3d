#include "signals.hpp"

#include <cerrno>
#include <csignal>

#include "tunport/base/error.hpp"

namespace tunport::tool {
namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t blocked_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) ::sigaddset(&set, signal);
  const auto add = [&](int signal) {
    if (!is_ignored(signal)) ::sigaddset(&set, signal);
  };
  for (const int signal : {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ,
                           SIGIO, SIGPWR, SIGSTKFLT, SIGABRT, SIGSYS, SIGTRAP})
    add(signal);
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) add(signal);
  return set;
}

}  // namespace

void block_signals() {
  // After a parent that ignores SIGCHLD the child's status would be lost.
  ::signal(SIGCHLD, SIG_DFL);
  // The reader of our output may go away; the summary is then written in vain.
  ::signal(SIGPIPE, SIG_IGN);
  const sigset_t set = blocked_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

Signals::Signals(Reactor& reactor, Handler handler) : reactor_{reactor}, handler_{std::move(handler)} {
  const sigset_t set = blocked_signals();
  fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) throw Error{errno_code(errno), "signals"};
  reactor_.add(*this);
}

void Signals::close() {
  reactor_.remove(*this);
  fd_.reset();
}

void Signals::do_read() {
  signalfd_siginfo info{};
  while (fd_ && ::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) handler_(info);
}

}  // namespace tunport::tool
