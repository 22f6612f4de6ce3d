#pragma once
/// The seam to the operating system for descriptors: every call of a device or a socket port. The
/// kernel's is `linux_io()`; `testing/memory_system.hpp` has a faithful fake.

#include <span>
#include <string>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport {

/// Bytes in all parts.
inline std::size_t size_of(std::span<const iovec> parts) {
  std::size_t size = 0;
  for (const iovec& part : parts) size += part.iov_len;
  return size;
}

/// Descriptor calls, named after system calls; a result below zero is a negated `errno`. The implementation
/// makes a call interrupted by a signal again: callers treat EINTR as EAGAIN. Descriptors are real, so that
/// every loop can watch them, and `close(2)` ends them: an implementation notices a close by itself.
class IoSystem {
 public:
  virtual ~IoSystem() = default;
  IoSystem() = default;
  IoSystem(const IoSystem&) = delete;
  IoSystem& operator=(const IoSystem&) = delete;

  /// open(2). The descriptor, or a negated errno.
  virtual int open(const char* path, int flags) = 0;
  /// faccessat(2) with AT_EACCESS: zero if the file's mode allows `mode` (R_OK, W_OK) to this user. Default:
  /// -ENOSYS, not known.
  virtual int access(const char* path, int mode);
  /// True if a descriptor of this process is bound to the interface named so in the caller's namespace.
  /// Default: false, not known.
  virtual bool holds(const std::string& interface);
  /// ioctl(2) with a pointer.
  virtual int ioctl(int fd, unsigned long request, void* argument) = 0;
  /// ioctl(2) with a number by value: for TUNSETPERSIST, TUNSETOWNER and TUNSETGROUP.
  virtual int ioctl_value(int fd, unsigned long request, unsigned long argument) = 0;
  /// read(2): a packet.
  virtual ssize_t read(int fd, void* buffer, std::size_t size) = 0;
  /// readv(2): a packet, scattered.
  virtual ssize_t readv(int fd, std::span<const iovec> parts) = 0;
  /// write(2): a packet.
  virtual ssize_t write(int fd, const void* buffer, std::size_t size) = 0;
  /// writev(2): a packet, gathered.
  virtual ssize_t writev(int fd, std::span<const iovec> parts) = 0;
  /// fcntl(F_GETFL).
  virtual int get_flags(int fd) = 0;
  /// fcntl(F_SETFL, flags) and, when `close_on_exec`, FD_CLOEXEC.
  virtual int set_flags(int fd, int flags, bool close_on_exec) = 0;

  /// socket(2).
  virtual int socket(int domain, int type, int protocol) = 0;
  virtual int bind(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int connect(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int getsockname(int fd, sockaddr* address, socklen_t* length) = 0;
  virtual int getsockopt(int fd, int level, int option, void* value, socklen_t* length) = 0;
  virtual int setsockopt(int fd, int level, int option, const void* value, socklen_t length) = 0;
  /// recvmsg(2): a datagram, or an entry of the error queue.
  virtual ssize_t recvmsg(int fd, msghdr* message, int flags) = 0;
  /// sendmsg(2): a datagram.
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags) = 0;
  /// recvmmsg(2) without a timeout: several datagrams in a call. Returns the number of messages filled in, at
  /// least 1, or a negated errno. An error behind the first datagram is told by the next call. Default:
  /// `recvmsg` of one.
  virtual int recvmmsg(int fd, std::span<mmsghdr> messages, int flags);
  /// sendmmsg(2): several datagrams in a call. Returns the number of datagrams sent, at least 1, or a negated
  /// errno. Sending ends before the first datagram that is refused. Default: `sendmsg` of one.
  virtual int sendmmsg(int fd, std::span<mmsghdr> messages, int flags);
};

/// The kernel. Stateless, safe from any thread.
IoSystem& linux_io();

}  // namespace tunport
