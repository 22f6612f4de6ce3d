#pragma once
/// Descriptor calls, passed on: a test overrides calls to watch or disturb them.

#include "tunport/device/io_system.hpp"

namespace tunport::test_support {

/// Passes each call to `inner`, which is borrowed.
class ForwardingIo : public IoSystem {
 public:
  explicit ForwardingIo(IoSystem& inner = linux_io()) : inner_{inner} {}

  int open(const char* path, int flags) override { return inner_.open(path, flags); }
  int access(const char* path, int mode) override { return inner_.access(path, mode); }
  bool holds(const std::string& interface) override { return inner_.holds(interface); }
  int ioctl(int fd, unsigned long request, void* argument) override {
    return inner_.ioctl(fd, request, argument);
  }
  int ioctl_value(int fd, unsigned long request, unsigned long argument) override {
    return inner_.ioctl_value(fd, request, argument);
  }
  ssize_t read(int fd, void* buffer, std::size_t size) override { return inner_.read(fd, buffer, size); }
  ssize_t readv(int fd, std::span<const iovec> parts) override { return inner_.readv(fd, parts); }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    return inner_.write(fd, buffer, size);
  }
  ssize_t writev(int fd, std::span<const iovec> parts) override { return inner_.writev(fd, parts); }
  int get_flags(int fd) override { return inner_.get_flags(fd); }
  int set_flags(int fd, int flags, bool close_on_exec) override {
    return inner_.set_flags(fd, flags, close_on_exec);
  }
  int socket(int domain, int type, int protocol) override { return inner_.socket(domain, type, protocol); }
  int bind(int fd, const sockaddr* address, socklen_t length) override {
    return inner_.bind(fd, address, length);
  }
  int getsockname(int fd, sockaddr* address, socklen_t* length) override {
    return inner_.getsockname(fd, address, length);
  }
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length) override {
    return inner_.getsockopt(fd, level, option, value, length);
  }
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length) override {
    return inner_.setsockopt(fd, level, option, value, length);
  }
  int connect(int fd, const sockaddr* address, socklen_t length) override {
    return inner_.connect(fd, address, length);
  }
  ssize_t recvmsg(int fd, msghdr* message, int flags) override { return inner_.recvmsg(fd, message, flags); }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override {
    return inner_.sendmsg(fd, message, flags);
  }
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    return inner_.recvmmsg(fd, messages, flags);
  }
  int sendmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    return inner_.sendmmsg(fd, messages, flags);
  }

 private:
  IoSystem& inner_;
};

}  // namespace tunport::test_support
