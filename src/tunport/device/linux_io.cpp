#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tunport/device/fdinfo_internal.hpp"
#include "tunport/device/io_system.hpp"
#include "tunport/device/net_namespace_internal.hpp"

namespace tunport {
namespace {

/// How often a call that a signal interrupts is made again: a flood of signals must not hold the caller.
constexpr int interrupted_retries = 16;

/// Makes a system call, and again after EINTR. A result of -1 becomes the negated errno.
template <typename Call>
auto checked(Call call) {
  using Result = decltype(call());
  for (int tries = 0;; ++tries) {
    const Result result = call();
    if (result >= 0) return result;
    if (errno != EINTR || tries == interrupted_retries) return static_cast<Result>(-errno);
  }
}

class LinuxIo final : public IoSystem {
 public:
  int open(const char* path, int flags) override {
    return checked([&] { return ::open(path, flags); });
  }
  int access(const char* path, int mode) override {
    return checked([&] { return ::faccessat(AT_FDCWD, path, mode, AT_EACCESS); });
  }
  bool holds(const std::string& interface) override;
  int ioctl(int fd, unsigned long request, void* argument) override {
    return checked([&] { return ::ioctl(fd, request, argument); });
  }
  int ioctl_value(int fd, unsigned long request, unsigned long argument) override {
    return checked([&] { return ::ioctl(fd, request, argument); });
  }
  ssize_t read(int fd, void* buffer, std::size_t size) override {
    return checked([&] { return ::read(fd, buffer, size); });
  }
  ssize_t readv(int fd, std::span<const iovec> parts) override {
    return checked([&] { return ::readv(fd, parts.data(), static_cast<int>(parts.size())); });
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    return checked([&] { return ::write(fd, buffer, size); });
  }
  ssize_t writev(int fd, std::span<const iovec> parts) override {
    return checked([&] { return ::writev(fd, parts.data(), static_cast<int>(parts.size())); });
  }
  int get_flags(int fd) override {
    return checked([&] { return ::fcntl(fd, F_GETFL); });
  }
  int set_flags(int fd, int flags, bool close_on_exec) override {
    if (const int result = checked([&] { return ::fcntl(fd, F_SETFL, flags); }); result < 0 || !close_on_exec)
      return result;
    return checked([&] { return ::fcntl(fd, F_SETFD, FD_CLOEXEC); });
  }

  int socket(int domain, int type, int protocol) override {
    return checked([&] { return ::socket(domain, type, protocol); });
  }
  int bind(int fd, const sockaddr* address, socklen_t length) override {
    return checked([&] { return ::bind(fd, address, length); });
  }
  int connect(int fd, const sockaddr* address, socklen_t length) override {
    return checked([&] { return ::connect(fd, address, length); });
  }
  int getsockname(int fd, sockaddr* address, socklen_t* length) override {
    return checked([&] { return ::getsockname(fd, address, length); });
  }
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length) override {
    return checked([&] { return ::getsockopt(fd, level, option, value, length); });
  }
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length) override {
    return checked([&] { return ::setsockopt(fd, level, option, value, length); });
  }
  ssize_t recvmsg(int fd, msghdr* message, int flags) override {
    return checked([&] { return ::recvmsg(fd, message, flags); });
  }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override {
    return checked([&] { return ::sendmsg(fd, message, flags); });
  }
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    return checked([&] {
      return ::recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), flags, nullptr);
    });
  }
  int sendmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    return checked(
        [&] { return ::sendmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), flags); });
  }
};

bool LinuxIo::holds(const std::string& interface) {
  std::error_code unknown;
  const UniqueFd here = current_namespace(unknown);
  if (!here) return false;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fdinfo", unknown}) {
    if (!is_bound_to(entry.path(), interface)) continue;
    // A namesake may be held elsewhere.
    const UniqueFd there = namespace_of_device(*this, std::stoi(entry.path().filename()), unknown);
    if (!unknown && (!there || is_same_namespace(here.get(), there.get()))) return true;
  }
  return false;
}

}  // namespace

bool is_bound_to(const std::string& fdinfo, const std::string& interface) {
  std::ifstream info{fdinfo};
  for (std::string line; std::getline(info, line);)
    if (line == "iff:\t" + interface) return true;
  return false;
}

int IoSystem::access(const char*, int) { return -ENOSYS; }
bool IoSystem::holds(const std::string&) { return false; }

int IoSystem::recvmmsg(int fd, std::span<mmsghdr> messages, int flags) {
  const ssize_t got = recvmsg(fd, &messages.front().msg_hdr, flags);
  if (got < 0) return static_cast<int>(got);
  messages.front().msg_len = static_cast<unsigned>(got);
  return 1;
}

int IoSystem::sendmmsg(int fd, std::span<mmsghdr> messages, int flags) {
  const ssize_t sent = sendmsg(fd, &messages.front().msg_hdr, flags);
  if (sent < 0) return static_cast<int>(sent);
  messages.front().msg_len = static_cast<unsigned>(sent);
  return 1;
}

IoSystem& linux_io() {
  static LinuxIo io;
  return io;
}

}  // namespace tunport
