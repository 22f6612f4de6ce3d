#include "worker.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <type_traits>
#include <utility>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

#include "failure.hpp"

namespace tunport::tool {

static_assert(std::is_trivially_copyable_v<WorkerReport>);

namespace {

Failure no_worker(int error) {
  const std::string_view known = remedy(errno_code(error));
  const std::string what_to_do = error == EAGAIN   ? "raise the limit of processes ('ulimit -u')"
                                 : error == ENOMEM ? "there is too little memory; end something else"
                                                   : std::string{known};
  return {status::failed, std::string{"no process for the work: "} + std::strerror(error) +
                              (what_to_do.empty() ? "" : "; ") + what_to_do};
}

/// True for a whole report.
bool receive(int control, WorkerReport& report) noexcept {
  ssize_t got = 0;
  do got = ::recv(control, &report, sizeof report, 0);
  while (got < 0 && errno == EINTR);
  report.text.back() = '\0';
  return got == static_cast<ssize_t>(sizeof report);
}

}  // namespace

void WorkerReport::set_text(std::string_view line) {
  text = {};
  std::copy_n(line.begin(), std::min(line.size(), text.size() - 1), text.begin());
}

bool send_report(int control, const WorkerReport& report) noexcept {
  // A parent whose output nobody reads is no reason to stop serving: what comes on the way may be lost.
  const bool must_arrive =
      report.kind == WorkerReport::Kind::ready || report.kind == WorkerReport::Kind::ended;
  ssize_t sent = 0;
  do sent = ::send(control, &report, sizeof report, MSG_NOSIGNAL | (must_arrive ? 0 : MSG_DONTWAIT));
  while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(sizeof report);
}

Worker::Worker(Reactor& reactor, const std::function<void(UniqueFd control)>& life, Reported reported,
               Ended ended)
    : reactor_{reactor}, reported_{std::move(reported)}, ended_{std::move(ended)} {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw no_worker(errno);
  control_.reset(ends[0]);
  UniqueFd workers{ends[1]};
  pid_ = ::fork();
  if (pid_ < 0) throw no_worker(errno);
  if (pid_ == 0) {
    ::prctl(PR_SET_NAME, "tunport-worker");
    control_.reset();
    life(std::move(workers));
    ::_exit(status::failed);
  }
  workers.reset();
  try {
    WorkerReport report;
    if (!receive(control_.get(), report)) {
      control_.reset();  // ends a worker that lives
      throw Failure{status::failed, "the worker " + reap() + "; try again"};
    }
    if (report.text.front() != '\0') throw Failure{status::failed, report.text.data()};
    reactor_.add(*this);
    is_watched_ = true;
  } catch (...) {
    control_.reset();
    reap();
    throw;
  }
}

Worker::~Worker() {
  if (is_watched_) reactor_.remove(*this);
  // A root without CAP_KILL may not signal another user's process, which ends at the close.
  control_.reset();
  if (pid_ > 0) ::kill(pid_, SIGKILL);
  reap();
}

void Worker::ask(WorkerRequest request) noexcept {
  if (!control_) return;
  ssize_t sent = 0;
  do sent = ::send(control_.get(), &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  // A worker that cannot be asked would serve for ever; the end of the talk ends it too.
  if (sent < 0) ::shutdown(control_.get(), SHUT_RDWR);
}

void Worker::do_read() {
  if (!control_) return;
  WorkerReport report;
  if (receive(control_.get(), report)) return reported_(report);
  reactor_.remove(*this);
  is_watched_ = false;
  control_.reset();
  ended_(reap());
}

std::string Worker::reap() {
  int how = 0;
  const pid_t pid = std::exchange(pid_, -1);
  if (pid <= 0) return {};
  while (::waitpid(pid, &how, 0) < 0)
    if (errno != EINTR) return "is gone";
  return WIFSIGNALED(how) ? "was ended by signal " + std::to_string(WTERMSIG(how)) + " (" +
                                ::strsignal(WTERMSIG(how)) + ")"
                          : "ended with status " + std::to_string(WEXITSTATUS(how));
}

}  // namespace tunport::tool
