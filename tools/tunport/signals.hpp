#pragma once
/// Signals as events of the reactor.
///
/// Theory. What ends the command, and what tells of its child, is blocked from the start, so that no step can
/// be interrupted halfway and nothing is left behind; it waits in the kernel and is read by signalfd(2) when
/// the loop comes round. Whoever has SIGHUP, SIGQUIT or a rarer one ignored when we start (nohup, a
/// shell's background job) keeps it ignored.

#include <functional>

#include <sys/signalfd.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport::tool {

/// Blocks SIGCHLD and the signals that would end us from outside: all but SIGKILL, those of a fault of ours
/// (SIGSEGV, SIGBUS, SIGFPE, SIGILL) and the C library's own (32 and 33). A call of abort(3) ends us still,
/// and so does a forbidden system call or a breakpoint. Ignores SIGPIPE. Before anything is made, and before
/// any thread.
void block_signals();

/// Calls `handler` for each blocked signal that has come.
class Signals final : public Watched {
 public:
  using Handler = std::function<void(const signalfd_siginfo& info)>;

  /// Throws `Error` if there is no descriptor left.
  Signals(Reactor& reactor, Handler handler);
  ~Signals() override { close(); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Takes no more; the reactor has one descriptor fewer to wait for. Safe from the handler.
  void close();

  int fileno() const override { return fd_.get(); }
  bool reading() const override { return true; }
  bool writing() const override { return false; }
  /// Handles all that has come.
  void do_read() override;
  void do_write() override {}
  void do_error() override {}

 private:
  Reactor& reactor_;
  UniqueFd fd_;
  Handler handler_;
};

}  // namespace tunport::tool
