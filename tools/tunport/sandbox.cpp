#include "sandbox.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/device/linux_links_internal.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

[[noreturn]] void fail(const std::string& line) { throw Failure{status::failed, "--sandbox: " + line}; }

/// True if the error tells of a shortage on the way, and not of user namespaces.
bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

/// Writes a file of /proc/self in a single write, as the kernel demands.
void write_own(const char* name, const std::string& text) {
  const std::string path = std::string{"/proc/self/"} + name;
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return;
  if (errno == ENOENT) fail(path + ": there is no such file; mount proc at /proc");
  if (is_shortage(errno)) fail(path + ": " + errno_code(errno).message());
  fail(why_no_user_namespace(errno, read_sysctl));
}

void enter_user_namespace() {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER) != 0) fail(why_no_user_namespace(errno, read_sysctl));
  // user_namespaces(7): without privilege outside, the own ids only, and setgroups given up first.
  write_own("setgroups", "deny");
  write_own("uid_map", "0 " + uid + " 1");
  write_own("gid_map", "0 " + gid + " 1");
}

/// Zero, or the errno.
int mount_own_sysfs() {
  // A mount that propagates would reach everybody.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return errno;
  struct statfs outer {};
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  // The kernel refuses a sysfs that allows more.
  if (::statfs("/sys", &outer) == 0 && (outer.f_flags & ST_RDONLY) != 0) flags |= MS_RDONLY;
  return ::mount("tunport", "/sys", "sysfs", flags, nullptr) == 0 ? 0 : errno;
}

bool sysfs_is_there() {
  struct statfs outer {};
  return ::statfs("/sys", &outer) == 0 && outer.f_type == SYSFS_MAGIC;
}

}  // namespace

std::optional<long> read_sysctl(const std::string& path) {
  std::ifstream file{"/proc/sys/" + path};
  long value = 0;
  return file >> value ? std::optional{value} : std::nullopt;
}

Sandbox enter_sandbox() {
  Sandbox sandbox;
  int error = ::geteuid() != 0 ? EPERM : ::unshare(CLONE_NEWNET) != 0 ? errno : 0;
  if (error == EPERM) {
    enter_user_namespace();
    sandbox.has_users = true;
    error = ::unshare(CLONE_NEWNET) != 0 ? errno : 0;
  }
  if (error != 0) fail(why_no_network_namespace(error));
  std::error_code ec;
  LinuxLinks{}.set_up("lo", true, ec);
  if (ec) fail("lo: " + ec.message());
  if (!sysfs_is_there()) return sandbox;  // nothing shows another network
  error = mount_own_sysfs();
  sandbox.has_mounts = error == 0;
  if (error != 0)
    sandbox.note = fmt::format(
        "--sandbox: /sys shows the interfaces outside still, as a sysfs of its own is refused here ({}); "
        "'ip link' shows those inside",
        std::strerror(error));
  return sandbox;
}

std::string Sandbox::way_in(int pid) const {
  return fmt::format("nsenter --target {}{}{} --net", pid, has_users ? " --user --preserve-credentials" : "",
                     has_mounts ? " --mount" : "");
}

std::string why_no_network_namespace(int error) {
  const std::string said = std::strerror(error);
  switch (error) {
    case ENOSPC:
    case EUSERS:
      return "no more network namespaces can be made (" + said +
             "); end what uses them, or raise the limit ('sysctl -w user.max_net_namespaces=15000')";
    case EINVAL:
    case ENOSYS:
      return "the kernel was built without network namespaces (" + said + "); leave --sandbox out";
    case EPERM:
      return "network namespaces are not permitted here (" + said +
             "); a container may forbid them: allow them there, or leave --sandbox out";
    default:
      return "no network namespace: " + errno_code(error).message();
  }
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
  if (is_shortage(error)) return "no user namespace: " + errno_code(error).message();
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
