#pragma once
/// UDP sockets of the fake kernel: they reach each other by local addresses. The inside of `MemorySystem`.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <sys/socket.h>
#include <sys/types.h>

#include "tunport/testing/readiness.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

struct MemoryKernel;

/// Datagrams of AF_INET and AF_INET6 between the sockets made here. Local addresses are the addresses of "lo"
/// and of every interface. A datagram to another address is lost if a route, or the prefix of an interface
/// that is up, leads there; otherwise the call fails with ENETUNREACH. A socket for IPv6 takes IPv4 by mapped
/// addresses, unless IPV6_V6ONLY is set.
class MemorySockets {
 public:
  explicit MemorySockets(const MemoryKernel& kernel) : kernel_{kernel} {}

  /// True for a descriptor made by `socket`.
  bool knows(int fd) { return find(fd) != nullptr; }
  // The calls of `IoSystem`; -EBADF for an unknown descriptor.
  int socket(int domain, int type, int protocol);
  int bind(int fd, const sockaddr* address, socklen_t length);
  int getsockname(int fd, sockaddr* address, socklen_t* length);
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length);
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length);
  ssize_t recvmsg(int fd, msghdr* message, int flags);
  ssize_t sendmsg(int fd, const msghdr* message, int flags);

 private:
  struct Datagram {
    Endpoint from;
    std::vector<std::byte> bytes;
    std::uint16_t segment_size = 0;  // of a run for a socket with UDP_GRO
    std::uint32_t dropped = 0;       // datagrams dropped before, by the socket
  };
  struct Socket {
    Readiness readiness;
    int domain = 0;
    std::optional<Endpoint> local;
    std::map<std::pair<int, int>, int> options;
    std::deque<Datagram> queue;
    std::size_t queued_bytes = 0;
    std::uint32_t dropped = 0;  // datagrams dropped without room

    int option(int level, int name, int otherwise) const;
    bool takes_both() const;  // IPv6, and IPv4 by mapped addresses
  };

  void sweep();
  Socket* find(int fd);
  Socket* receiver_of(const Endpoint& to);
  bool is_taken(const Socket& socket, const Endpoint& wanted) const;
  int bind_to(Socket& socket, Endpoint wanted);
  static void put(Socket& receiver, Datagram datagram);

  const MemoryKernel& kernel_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Socket>> sockets_;
  std::uint16_t next_port_ = 32768;
};

}  // namespace tunport
