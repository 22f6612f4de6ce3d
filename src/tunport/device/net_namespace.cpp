#include <cerrno>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tunport/base/throwing.hpp"
#include "tunport/device/net_namespace_internal.hpp"

namespace tunport {
namespace {

/// The errno of setns(2).
std::error_code enter_error(int number) {
  switch (number) {
    case EPERM:
      return Errc::namespace_denied;
    case EINVAL:
      return Errc::not_a_namespace;
    default:
      return errno_code(number);
  }
}

UniqueFd open_path(const char* path, std::error_code& ec) {
  ec.clear();
  UniqueFd fd{::open(path, O_RDONLY | O_CLOEXEC)};
  if (!fd) ec = errno_code(errno);
  return fd;
}

/// True with CAP_NET_ADMIN over the caller's namespace: the kernel asks for it before it hands out the
/// namespace of a socket.
bool administers_here() {
  const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  return socket && UniqueFd{::ioctl(socket.get(), SIOCGSKNS)};
}

}  // namespace

bool is_same_namespace(int one, int other) {
  struct stat first {};
  struct stat second {};
  return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

UniqueFd current_namespace(std::error_code& ec) { return open_path("/proc/thread-self/ns/net", ec); }

UniqueFd open_namespace(const std::string& name, std::error_code& ec) {
  const bool is_path = name.find('/') != std::string::npos;
  UniqueFd fd = open_path((is_path ? name : "/run/netns/" + name).c_str(), ec);
  if (ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory)
    ec = Errc::no_such_namespace;
  if (ec) return fd;
  // A file that is no namespace, or one of another type, would be noticed by setns only, by a bare EINVAL.
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    ec = Errc::not_a_namespace;
    fd.reset();
  }
  return fd;
}

void in_namespace(int namespace_fd, const std::function<void()>& inside, std::error_code& ec) {
  const UniqueFd home = current_namespace(ec);
  if (ec) return;
  if (is_same_namespace(home.get(), namespace_fd)) return inside();
  if (::setns(namespace_fd, CLONE_NEWNET) != 0) {
    ec = enter_error(errno);
    return;
  }
  // Also when `inside` throws.
  struct WayBack {
    int home;
    std::error_code& ec;
    ~WayBack() {
      if (::setns(home, CLONE_NEWNET) != 0) ec = enter_error(errno);
    }
  } const way_back{home.get(), ec};
  inside();
}

UniqueFd namespace_of_device(IoSystem& io, int fd, std::error_code& ec) {
  ec.clear();
  const int got = io.ioctl(fd, TUNGETDEVNETNS, nullptr);
  if (got >= 0) return UniqueFd{got};
  if (got == -EBADFD) ec = Errc::device_gone;
  if (got != -EPERM) return {};
  if (administers_here()) {
    ec = Errc::namespace_denied;
    return {};
  }
  std::error_code unknown;  // without /proc it stays the caller's at each call
  return current_namespace(unknown);
}

UniqueFd current_namespace() {
  return throwing("network namespace", [](std::error_code& ec) { return current_namespace(ec); });
}

UniqueFd open_namespace(const std::string& name) {
  return throwing(name, [&](std::error_code& ec) { return open_namespace(name, ec); });
}

void in_namespace(int namespace_fd, const std::function<void()>& inside) {
  throwing("network namespace", [&](std::error_code& ec) { in_namespace(namespace_fd, inside, ec); });
}

}  // namespace tunport
