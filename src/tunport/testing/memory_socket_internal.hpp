#pragma once
/// UDP sockets of the fake kernel: they reach each other by local addresses. The inside of `MemorySystem`.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/types.h>

#include "tunport/testing/memory_control_internal.hpp"
#include "tunport/testing/readiness_internal.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

struct MemoryKernel;

/// Datagrams of AF_INET and AF_INET6 between the sockets made here. Local addresses are the addresses of "lo"
/// and of every interface. A datagram to another address is lost if a route, or the prefix of an interface
/// that is up, leads there; otherwise the call fails with ENETUNREACH. Groups and broadcasts reach the
/// sockets of this host. A socket for IPv6 takes IPv4 by mapped addresses, unless IPV6_V6ONLY is set.
class MemorySockets {
 public:
  explicit MemorySockets(const MemoryKernel& kernel) : kernel_{kernel} {}

  /// True for a descriptor made by `socket`.
  bool knows(int fd) { return find(fd) != nullptr; }
  // The calls of `IoSystem`; -EBADF for an unknown descriptor.
  int socket(int domain, int type, int protocol);
  int bind(int fd, const sockaddr* address, socklen_t length);
  int connect(int fd, const sockaddr* address, socklen_t length);
  int ioctl(int fd, unsigned long request, void* argument);
  int getsockname(int fd, sockaddr* address, socklen_t* length);
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length);
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length);
  ssize_t recvmsg(int fd, msghdr* message, int flags);
  ssize_t sendmsg(int fd, const msghdr* message, int flags);
  /// Has the next call report `error`.
  void tell_later(int fd, int error);

 private:
  struct Socket {
    Readiness readiness;
    int domain = 0;
    std::optional<Endpoint> local;
    std::optional<Endpoint> peer;
    std::map<std::pair<int, int>, int> options;
    std::string device;                             // the interface bound to
    std::vector<std::pair<IpAddress, int>> groups;  // the memberships, by interface
    std::deque<MemoryDatagram> queue;
    std::size_t queued_bytes = 0;
    std::uint32_t dropped = 0;    // datagrams dropped without room
    std::deque<Endpoint> errors;  // receivers of datagrams to ports without a socket
    int pending_error = 0;        // SO_ERROR

    bool v4() const { return domain == AF_INET; }
    int option(int level, int name, int otherwise) const;
    bool is_on(int level, int name) const { return option(level, name, 0) != 0; }
    bool is_member(const IpAddress& group, int interface_index) const {
      return std::ranges::find(groups, std::pair{group, interface_index}) != groups.end();
    }
    /// An option with different numbers for IPv4 and IPv6.
    int ip_option(int option_v4, int option_v6, int otherwise) const;
    bool takes_both() const;  // IPv6, and IPv4 by mapped addresses
    void update_readiness() {
      readiness.set_readable(!queue.empty() || !errors.empty() || pending_error != 0);
    }
  };

  void sweep();
  Socket* find(int fd);
  /// The socket that gets a datagram; all sockets for a group or a broadcast.
  bool fits_path(const Socket& socket, const Endpoint& to, std::size_t size, std::size_t segment) const;
  std::vector<Socket*> receivers_of(const MemoryDatagram& datagram, int interface_index);
  bool is_taken(const Socket& socket, const Endpoint& wanted) const;
  int bind_to(Socket& socket, Endpoint wanted);
  int change_membership(Socket& socket, const void* value, socklen_t length, bool v4, bool join);
  int set_number(Socket& socket, int level, int option, int number);
  int send(Socket& socket, MemoryDatagram datagram, std::size_t segment);
  static ssize_t receive_error(Socket& socket, msghdr* message);
  static void put(Socket& receiver, MemoryDatagram datagram);

  const MemoryKernel& kernel_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Socket>> sockets_;
  std::uint16_t next_port_ = 32768;
};

}  // namespace tunport
