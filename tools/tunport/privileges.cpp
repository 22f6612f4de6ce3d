#include "privileges.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failure.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TUNPORT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TUNPORT_SANITIZED 1
#endif
#endif

namespace tunport::tool {

#ifdef TUNPORT_SANITIZED
const bool has_system_call_filter = false;
#else
const bool has_system_call_filter = true;
#endif

namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw Failure{status::failed, "privileges cannot be given up: " + what + ": " + std::strerror(error) +
                                    "; run it with --privileged to keep them"};
}

void become(const Account& account, bool is_asked_for) {
  if (::geteuid() != 0) {
    if (is_asked_for && account.uid != ::geteuid())
      throw Failure{status::failed,
                    "--user '" + account.name + "': only root becomes another user; leave --user out"};
    return;
  }
  if (::setgroups(0, nullptr) == 0 && ::setresgid(account.gid, account.gid, account.gid) == 0 &&
      ::setresuid(account.uid, account.uid, account.uid) == 0)
    return;
  // A user namespace without that user, or a container that keeps root from it.
  const int error = errno;
  if (is_asked_for)
    throw Failure{status::failed, "--user '" + account.name + "': this namespace cannot become that user: " +
                                      std::strerror(error) + "; leave --user out"};
  if (error != EPERM && error != EINVAL) fail("user " + account.name, error);
}

/// The calls of the loop, with any arguments.
constexpr int plain_calls[] = {
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
    // Waiting.
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(ppoll_time64), SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_settime64),
    SCMP_SYS(restart_syscall), SCMP_SYS(futex), SCMP_SYS(futex_time64), SCMP_SYS(sched_yield),
    SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_nanosleep_time64),
    // Time and numbers.
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getrandom),
    // Open sockets: the parent's, and netlink.
    SCMP_SYS(sendmsg), SCMP_SYS(sendto), SCMP_SYS(send), SCMP_SYS(recvmsg), SCMP_SYS(recvfrom),
    SCMP_SYS(recv), SCMP_SYS(bind), SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    // Memory, and what descriptors are.
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(fstat), SCMP_SYS(fstat64),
    // Signals and the end.
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigpending), SCMP_SYS(exit),
    SCMP_SYS(exit_group)};

class Filter {
 public:
  void allow(int call) { check(::seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, call, 0)); }
  void allow(int call, const scmp_arg_cmp& one) {
    check(::seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, call, 1, one));
  }
  void allow(int call, const scmp_arg_cmp& one, const scmp_arg_cmp& other) {
    check(::seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, call, 2, one, other));
  }
  void load() { check(::seccomp_load(context_.get())); }

 private:
  static void check(int result) {
    if (result < 0) fail("no system call filter", -result);
  }
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_{::seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                            ::seccomp_release};
};

/// A comparison of an argument of a system call.
constexpr scmp_arg_cmp is(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
constexpr scmp_arg_cmp lacks(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, 0};
}

}  // namespace

void drop_privileges(const Account& account, bool is_asked_for) {
  ::capng_get_caps_process();
  const bool may_bound = ::capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
  ::capng_clear(CAPNG_SELECT_ALL);
  if (may_bound && ::capng_apply(CAPNG_SELECT_BOUNDS) != 0) fail("the bounding set", errno);
  become(account, is_asked_for);
  ::capng_clear(CAPNG_SELECT_ALL);
  if (::capng_apply(CAPNG_SELECT_CAPS) != 0) fail("capabilities", errno);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("no_new_privs", errno);
}

void filter_system_calls() {
  if (!has_system_call_filter) return;
  Filter filter;
  for (const int call : plain_calls) filter.allow(call);
  for (const auto flags : {F_GETFD, F_SETFD, F_GETFL, F_SETFL})
    filter.allow(SCMP_SYS(fcntl), is(1, static_cast<std::uint64_t>(flags)));
  // How the C library asks fstat(2).
  filter.allow(SCMP_SYS(newfstatat), is(3, AT_EMPTY_PATH));
  for (const unsigned long request : {TUNGETIFF, TUNSETOFFLOAD})
    filter.allow(SCMP_SYS(ioctl), is(1, request));
  filter.allow(SCMP_SYS(socket), is(0, AF_NETLINK), is(2, NETLINK_ROUTE));
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)})
    filter.allow(call, lacks(2, PROT_EXEC));
  filter.allow(SCMP_SYS(tgkill), is(0, static_cast<std::uint64_t>(::getpid())));
  filter.load();
}

}  // namespace tunport::tool
