#include "privileges.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failure.hpp"

namespace tunport::tool {
namespace {

/// Runs `inside` in a process of its own; its result, or 128 and a deadly signal.
int apart(const std::function<int()>& inside) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      ::_exit(inside());
    } catch (...) {
      ::_exit(99);
    }
  }
  int how = 0;
  while (::waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}

Account myself() { return {::geteuid(), ::getegid(), "me", "/", {}}; }

/// The errno of a call after both steps; 0 if the call succeeds.
int errno_after_drop(const std::function<long()>& call) {
  return apart([&] {
    drop_privileges(myself(), false);
    filter_system_calls();
    return call() < 0 ? errno : 0;
  });
}

struct Case {
  const char* name;
  std::function<long()> call;
};
std::ostream& operator<<(std::ostream& out, const Case& tested) { return out << tested.name; }

int some_socket(int domain, int type, int protocol) { return ::socket(domain, type, protocol); }

class Refused : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    Filter, Refused,
    testing::Values(
        Case{"open", [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }},
        Case{"creat",
             [] { return ::open("/tmp/tunport-no-such-file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600); }},
        Case{"socket_inet", [] { return some_socket(AF_INET, SOCK_DGRAM, 0); }},
        Case{"socket_inet6", [] { return some_socket(AF_INET6, SOCK_STREAM, 0); }},
        Case{"socket_unix", [] { return some_socket(AF_UNIX, SOCK_STREAM, 0); }},
        Case{"socket_netfilter", [] { return some_socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }},
        Case{"setuid", [] { return ::setuid(::getuid()); }},
        Case{"setresgid", [] { return ::setresgid(::getgid(), ::getgid(), ::getgid()); }},
        Case{"ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
        Case{"execve", [] { return ::execl("/bin/true", "true", nullptr); }},
        Case{"fork",
             [] {
               const pid_t pid = ::fork();
               if (pid == 0) ::_exit(0);
               return pid;
             }},
        Case{"kill", [] { return ::kill(::getppid(), 0); }},
        Case{"prctl", [] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }},
        Case{"interface_request", [] { return ::ioctl(0, TUNSETIFF, nullptr); }},
        Case{"executable_memory",
             [] {
               void* const memory =
                   ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
               return memory == MAP_FAILED ? -1L : 0L;
             }}),
    [](const auto& tested) { return tested.param.name; });

TEST_P(Refused, ByTheFilter) {
  if (!has_system_call_filter) GTEST_SKIP() << "the sanitizers need system calls of their own";
  EXPECT_EQ(errno_after_drop(GetParam().call), EPERM);
}

TEST(Filter, LeavesWhatTheLoopNeeds) {
  EXPECT_EQ(errno_after_drop([] { return some_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); }),
            0);
  EXPECT_EQ(errno_after_drop([] { return ::fcntl(STDERR_FILENO, F_GETFL); }), 0);
  EXPECT_EQ(errno_after_drop([] {
              const std::string big(std::size_t{1} << 22, 'x');  // mapped anew
              return big.back() == 'x' ? 0L : -1L;
            }),
            0);
  // Past the filter: the kernel blames the descriptor.
  EXPECT_EQ(errno_after_drop([] { return ::ioctl(-1, TUNSETOFFLOAD, 0); }), EBADF);
}

TEST(Privileges, AreGoneWithoutAWayBack) {
  EXPECT_EQ(apart([] {
              drop_privileges(myself(), false);
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 1;
              if (::sethostname("x", 1) == 0) return 2;  // CAP_SYS_ADMIN
              if (::access("/proc/self/status", R_OK) != 0) return 3;
              return 0;
            }),
            0);
}

TEST(Privileges, OnlyRootBecomesTheUserAskedFor) {
  const int status = apart([] {
    if (::geteuid() == 0 && (::setresgid(1, 1, 1) != 0 || ::setresuid(1, 1, 1) != 0)) return 77;
    const Account other{::geteuid() + 1, ::getegid(), "other", "/", {}};
    try {
      drop_privileges(other, true);
    } catch (const Failure& failure) {
      return std::string{failure.what()}.starts_with("--user 'other': only root") ? 0 : 1;
    }
    return 2;
  });
  if (status == 77) GTEST_SKIP() << "this namespace has root alone";
  EXPECT_EQ(status, 0);
}

TEST(Accounts, AreFoundByName) {
  const auto root = find_account("root");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->uid, 0U);
  EXPECT_FALSE(find_account("no-such-user-here"));
}

TEST(Accounts, TheUserOfSudoIsBelievedOfRootOnly) {
  const auto found = [](const char* uid, const char* gid) {
    ::setenv("SUDO_UID", uid, 1);
    ::setenv("SUDO_GID", gid, 1);
    auto account = invoking_account();
    ::unsetenv("SUDO_UID");
    ::unsetenv("SUDO_GID");
    return account;
  };
  EXPECT_FALSE(found("0", "0"));
  EXPECT_FALSE(invoking_account());
  EXPECT_FALSE(found("12x", "12"));
  EXPECT_FALSE(found("-1", "12"));
  EXPECT_FALSE(found("", ""));
  const auto account = found("54321", "54322");
  ASSERT_EQ(account.has_value(), ::geteuid() == 0);
  if (!account) return;
  EXPECT_EQ(account->uid, 54321U);
  EXPECT_EQ(account->gid, 54322U);
  EXPECT_EQ(account->groups, std::vector<gid_t>{54322});
}

}  // namespace
}  // namespace tunport::tool
