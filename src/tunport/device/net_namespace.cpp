#include "tunport/device/net_namespace.hpp"

#include <cerrno>

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "tunport/base/throwing.hpp"

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

}  // namespace

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
