#include "sandbox.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/device/linux_links.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

std::optional<long> read_sysctl(const std::string& path) {
  std::ifstream file{"/proc/sys/" + path};
  long value = 0;
  return file >> value ? std::optional{value} : std::nullopt;
}

[[noreturn]] void fail(int error) {
  throw Failure{status::failed, "--sandbox: " + why_no_user_namespace(error, read_sysctl)};
}

/// Writes a file of /proc/self in one go, as the kernel wants it. Zero, or the errno.
int write_own(const char* name, const std::string& text) {
  const UniqueFd file{::open((std::string{"/proc/self/"} + name).c_str(), O_WRONLY | O_CLOEXEC)};
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0
                                                                                                    : errno;
}

void enter_user_and_network_namespace() {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) fail(errno);
  // user_namespaces(7): without privilege outside, one's own ids only, and setgroups given up first.
  int error = write_own("setgroups", "deny");
  if (error == 0) error = write_own("uid_map", "0 " + uid + " 1");
  if (error == 0) error = write_own("gid_map", "0 " + gid + " 1");
  if (error != 0) fail(error);
}

}  // namespace

void enter_sandbox() {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) enter_user_and_network_namespace();
  std::error_code ec;
  LinuxLinks{}.set_up("lo", true, ec);
  if (ec) throw Failure{status::failed, "--sandbox: lo: " + ec.message()};
}

std::string why_no_user_namespace(int error, const ReadSysctl& read) {
  struct Switch {
    const char* name;
    const char* path;
    long off;
    const char* on;
  };
  constexpr Switch switches[] = {
      {"user.max_user_namespaces", "user/max_user_namespaces", 0, "15000"},
      {"kernel.unprivileged_userns_clone", "kernel/unprivileged_userns_clone", 0, "1"},
      {"kernel.apparmor_restrict_unprivileged_userns", "kernel/apparmor_restrict_unprivileged_userns", 1,
       "0"},
  };
  const std::string off = cause(Errc::no_user_namespaces);
  for (const Switch& one : switches) {
    if (read(one.path) != one.off) continue;
    return fmt::format("{0} ({1} is {2}); turn them on with 'sysctl -w {1}={3}', or run as root", off,
                       one.name, one.off, one.on);
  }
  const std::string said = std::strerror(error);
  switch (error) {
    case EINVAL:
    case ENOSYS:
      return off + " (the kernel was built without them: " + said + "); run as root";
    case ENOSPC:
    case EUSERS:
      return "no more user namespaces can be made (" + said +
             "); end what uses them, raise user.max_user_namespaces, or run as root";
    default:
      return "user namespaces are not permitted here (" + said +
             "); a container or chroot may forbid them (allow them there, for docker "
             "'--security-opt seccomp=unconfined'), or run as root with CAP_SYS_ADMIN";
  }
}

}  // namespace tunport::tool
