#pragma once
/// Signals as events of the reactor.
///
/// Theory. Signals that end the command, and SIGCHLD, are blocked from the start, so that no step can be
/// interrupted halfway and nothing is left behind. The signals wait in the kernel and are read by signalfd(2)
/// when the loop comes round. SIGHUP, SIGQUIT or a rarer signal that is ignored at our start (nohup, a
/// shell's background job) stays ignored.

#include <functional>

#include <sys/signalfd.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport::tool {

/// Blocks SIGCHLD and the signals that would end us from outside: all but SIGKILL, the signals of a crash
/// (SIGSEGV, SIGBUS, SIGFPE, SIGILL) and the C library's own (32 and 33). A call of abort(3), a forbidden
/// system call or a breakpoint ends us still. Ignores SIGPIPE. Precondition: nothing is made yet, and there
/// is no thread.
void block_signals();

/// Calls `handler` for each pending signal.
class Signals final : public Watched {
 public:
  using Handler = std::function<void(const signalfd_siginfo& info)>;

  /// Throws `Error` if there is no descriptor left.
  Signals(Reactor& reactor, Handler handler);
  ~Signals() override { close(); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Ends the reading of signals; the reactor has a descriptor fewer to wait for. Safe from the handler.
  void close();

  int fileno() const override { return fd_.get(); }
  bool reading() const override { return true; }
  bool writing() const override { return false; }
  /// Handles every pending signal.
  void do_read() override;
  void do_write() override {}
  void do_error() override {}

 private:
  Reactor& reactor_;
  UniqueFd fd_;
  Handler handler_;
};

}  // namespace tunport::tool
