#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

#include "tunport/testing/memory_kernel_internal.hpp"
#include "tunport/testing/memory_socket_internal.hpp"

namespace tunport {
namespace {

constexpr std::uint16_t first_ephemeral = 32768;
constexpr std::uint16_t last_ephemeral = 60999;
constexpr int default_buffer = 212992;          // net.core.rmem_default
constexpr std::size_t most_payload = 65507;     // 65535 without the IPv4 and UDP headers
constexpr std::size_t most_payload_v6 = 65527;  // 65535 without the UDP header
constexpr std::size_t datagram_cost = 512;      // the kernel's overhead of each datagram

IpAddress unspecified(int domain) {
  return domain == AF_INET ? IpAddress{Ipv4Address{}} : IpAddress{Ipv6Address{}};
}

IpAddress loopback(int domain) {
  return domain == AF_INET ? IpAddress{Ipv4Address{0x7f000001}} : *IpAddress::parse("::1");
}

/// UDP_MAX_SEGMENTS (linux/udp.h); 64 before Linux 6.9.
constexpr std::size_t most_segments = 128;

/// The smallest and largest number of an option in the kernel; nothing without bounds.
std::optional<std::pair<int, int>> range_of(int level, int option) {
  if (level == IPPROTO_IP && option == IP_TTL) return std::pair{1, 255};
  if (level == IPPROTO_IP && option == IP_MULTICAST_TTL) return std::pair{0, 255};
  if (level == IPPROTO_IP && option == IP_MTU_DISCOVER) return std::pair{0, 5};
  if (level == IPPROTO_IPV6 && (option == IPV6_UNICAST_HOPS || option == IPV6_MULTICAST_HOPS))
    return std::pair{0, 255};
  if (level == IPPROTO_IPV6 && option == IPV6_TCLASS) return std::pair{0, 255};
  if (level == IPPROTO_IPV6 && option == IPV6_MTU_DISCOVER) return std::pair{0, 5};
  if (level == IPPROTO_UDP && option == UDP_SEGMENT) return std::pair{0, 0xffff};
  return std::nullopt;
}

}  // namespace

int MemorySockets::Socket::option(int level, int name, int otherwise) const {
  const auto found = options.find({level, name});
  return found == options.end() ? otherwise : found->second;
}

int MemorySockets::Socket::ip_option(int option_v4, int option_v6, int otherwise) const {
  return v4() ? option(IPPROTO_IP, option_v4, otherwise) : option(IPPROTO_IPV6, option_v6, otherwise);
}

bool MemorySockets::Socket::takes_both() const {
  return domain == AF_INET6 && option(IPPROTO_IPV6, IPV6_V6ONLY, 0) == 0;
}

void MemorySockets::sweep() {
  std::erase_if(sockets_, [](const auto& entry) { return entry.second->readiness.abandoned(); });
}

MemorySockets::Socket* MemorySockets::find(int fd) {
  const auto found = sockets_.find(Readiness::identity_of(fd));
  if (found == sockets_.end()) return nullptr;
  found->second->readiness.seen_at(fd);
  return found->second.get();
}

int MemorySockets::socket(int domain, int type, int protocol) {
  sweep();
  if (domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
  if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_DGRAM) return -ESOCKTNOSUPPORT;
  if (protocol != 0 && protocol != IPPROTO_UDP) return -EPROTONOSUPPORT;
  auto socket = std::make_unique<Socket>();
  socket->domain = domain;
  const int opened = socket->readiness.open(((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0) |
                                            ((type & SOCK_CLOEXEC) != 0 ? O_CLOEXEC : 0));
  UniqueFd fd{std::max(opened, -1)};
  if (fd) sockets_.emplace(socket->readiness.identity(), std::move(socket));
  return fd ? fd.release() : opened;
}

bool MemorySockets::is_taken(const Socket& socket, const Endpoint& wanted) const {
  const auto covers = [](const Socket& one, const IpAddress& its, const IpAddress& other) {
    return its == other ||
           (its.is_unspecified() && (its.is_v4() == other.is_v4() || (its.is_v6() && one.takes_both())));
  };
  return std::ranges::any_of(sockets_, [&](const auto& entry) {
    const Socket& other = *entry.second;
    if (&other == &socket || !other.local || other.local->port != wanted.port) return false;
    const auto both = [&](int option) {
      return other.is_on(SOL_SOCKET, option) && socket.is_on(SOL_SOCKET, option);
    };
    const bool shared = both(SO_REUSEADDR) || both(SO_REUSEPORT);
    return !shared && (covers(other, other.local->address, wanted.address) ||
                       covers(socket, wanted.address, other.local->address));
  });
}

int MemorySockets::bind_to(Socket& socket, Endpoint wanted) {
  if (!wanted.address.is_unspecified() && !wanted.address.is_multicast() && !kernel_.is_local(wanted.address))
    return -EADDRNOTAVAIL;
  if (wanted.port != 0) {
    if (is_taken(socket, wanted)) return -EADDRINUSE;
  } else {
    for (int tries = 0; wanted.port == 0 || is_taken(socket, wanted); ++tries) {
      if (tries > last_ephemeral - first_ephemeral) return -EADDRINUSE;
      wanted.port = next_port_;
      next_port_ =
          next_port_ == last_ephemeral ? first_ephemeral : static_cast<std::uint16_t>(next_port_ + 1);
    }
  }
  socket.local = wanted;
  return 0;
}

int MemorySockets::bind(int fd, const sockaddr* address, socklen_t length) {
  sweep();
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  Endpoint wanted;
  if (const int error = read_address(socket->domain, address, length, wanted); error != 0) return error;
  if (socket->local) return -EINVAL;
  return bind_to(*socket, wanted);
}

int MemorySockets::connect(int fd, const sockaddr* address, socklen_t length) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  Endpoint peer;
  if (const int error = read_address(socket->domain, address, length, peer); error != 0) return error;
  const bool local = kernel_.is_local(peer.address);
  if (!local && !kernel_.is_reachable(peer.address)) return -ENETUNREACH;
  if (!socket->local)
    if (const int error = bind_to(*socket, {unspecified(socket->domain), 0}); error != 0) return error;
  if (local && socket->local->address.is_unspecified()) socket->local->address = peer.address;
  socket->peer = peer;
  return 0;
}

int MemorySockets::ioctl(int fd, unsigned long request, void* argument) {
  if (find(fd) == nullptr) return -EBADF;
  if (request != SIOCGIFINDEX) return -ENOTTY;
  ifreq wanted{};
  std::memcpy(&wanted, argument, sizeof wanted);
  const auto device = kernel_.find(std::string{wanted.ifr_name});
  if (!device) return -ENODEV;
  wanted.ifr_ifindex = device->index;
  std::memcpy(argument, &wanted, sizeof wanted);
  return 0;
}

int MemorySockets::getsockname(int fd, sockaddr* address, socklen_t* length) {
  const Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  const Endpoint local = socket->local.value_or(Endpoint{unspecified(socket->domain), 0});
  *length = write_address(socket->domain, local, address, *length);
  return 0;
}

int MemorySockets::getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  int number = 0;
  if (level == SOL_SOCKET && option == SO_ERROR) {
    number = std::exchange(socket->pending_error, 0);
    socket->update_readiness();
  } else if (const auto set = socket->options.find({level, option}); set != socket->options.end()) {
    number = set->second;
  } else if (level == SOL_SOCKET && option == SO_TYPE) {
    number = SOCK_DGRAM;
  } else if (level == SOL_SOCKET && option == SO_DOMAIN) {
    number = socket->domain;
  } else if (level == SOL_SOCKET && option == SO_PROTOCOL) {
    number = IPPROTO_UDP;
  } else if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_SNDBUF)) {
    number = default_buffer;
  } else if (!(level == SOL_SOCKET && option == SO_REUSEADDR) &&
             !(level == IPPROTO_IPV6 && option == IPV6_V6ONLY)) {
    return -ENOPROTOOPT;
  }
  *length = std::min<socklen_t>(*length, sizeof number);
  std::memcpy(value, &number, *length);
  return 0;
}

int MemorySockets::setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (level == SOL_SOCKET && option == SO_BINDTODEVICE) {
    const auto* const text = static_cast<const char*>(value);
    const std::string name{text, ::strnlen(text, length)};
    if (!name.empty() && !kernel_.find(name)) return -ENODEV;
    socket->device = name;
    return 0;
  }
  if (level == IPPROTO_IP && (option == IP_ADD_MEMBERSHIP || option == IP_DROP_MEMBERSHIP))
    return change_membership(*socket, value, length, true, option == IP_ADD_MEMBERSHIP);
  if (level == IPPROTO_IPV6 && (option == IPV6_JOIN_GROUP || option == IPV6_LEAVE_GROUP))
    return change_membership(*socket, value, length, false, option == IPV6_JOIN_GROUP);
  int number = 0;
  if (level == IPPROTO_IP && option == IP_MULTICAST_IF) {
    ip_mreqn wanted{};
    if (length < sizeof wanted) return -EINVAL;
    std::memcpy(&wanted, value, sizeof wanted);
    number = wanted.imr_ifindex;
    if (!kernel_.find(number)) return -EADDRNOTAVAIL;
  } else {
    if (length < sizeof number) return -EINVAL;
    std::memcpy(&number, value, sizeof number);
  }
  return set_number(*socket, level, option, number);
}

int MemorySockets::set_number(Socket& socket, int level, int option, int number) {
  if (const auto range = range_of(level, option); range && (number < range->first || number > range->second))
    return -EINVAL;
  if (level == SOL_SOCKET && option == SO_MARK && !kernel_.privileged) return -EPERM;
  if (level == IPPROTO_IPV6 && option == IPV6_MULTICAST_IF && !kernel_.find(number)) return -ENODEV;
  // The kernel doubles the value, for the kernel's overhead (socket(7)).
  if (level == SOL_SOCKET && (option == SO_RCVBUFFORCE || option == SO_SNDBUFFORCE)) {
    option = option == SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF;
    number = std::clamp(number, 1152, INT_MAX / 2) * 2;
  } else if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_SNDBUF)) {
    number = std::clamp(number, 1152, default_buffer) * 2;
  }
  socket.options[{level, option}] = number;
  return 0;
}

int MemorySockets::change_membership(Socket& socket, const void* value, socklen_t length, bool v4,
                                     bool join) {
  IpAddress group;
  int index = 0;
  if (v4) {
    ip_mreqn wanted{};
    if (length < sizeof wanted) return -EINVAL;
    std::memcpy(&wanted, value, sizeof wanted);
    group = Ipv4Address{network_order(wanted.imr_multiaddr.s_addr)};
    index = wanted.imr_ifindex;
  } else {
    ipv6_mreq wanted{};
    if (length < sizeof wanted) return -EINVAL;
    std::memcpy(&wanted, value, sizeof wanted);
    group = Ipv6Address::load(std::as_bytes(std::span{wanted.ipv6mr_multiaddr.s6_addr}), 0);
    index = static_cast<int>(wanted.ipv6mr_interface);
  }
  if (!group.is_multicast()) return -EINVAL;
  if (index == 0 && !kernel_.is_reachable(group)) return -ENODEV;
  if (index != 0 && !kernel_.find(index)) return -ENODEV;
  const std::pair membership{group, index};
  if (join && socket.is_member(group, index)) return -EADDRINUSE;
  if (!join) return std::erase(socket.groups, membership) != 0 ? 0 : -EADDRNOTAVAIL;
  socket.groups.push_back(membership);
  return 0;
}

ssize_t MemorySockets::receive_error(Socket& socket, msghdr* message) {
  if (socket.errors.empty()) return -EAGAIN;
  const Endpoint to = socket.errors.front();
  if (message->msg_name != nullptr)
    message->msg_namelen = write_address(socket.domain, to, message->msg_name, message->msg_namelen);
  write_refused(*message, socket.v4(), to.address);
  message->msg_flags = MSG_ERRQUEUE;
  socket.errors.pop_front();
  socket.pending_error = socket.errors.empty() ? 0 : ECONNREFUSED;
  socket.update_readiness();
  return 0;
}

ssize_t MemorySockets::recvmsg(int fd, msghdr* message, int flags) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if ((flags & MSG_ERRQUEUE) != 0) return receive_error(*socket, message);
  const int pending = std::exchange(socket->pending_error, 0);
  socket->update_readiness();
  // The descriptor cannot report POLLERR without a hang-up: a read reports the error queue instead.
  if (pending != 0) return -pending;
  if (!socket->errors.empty()) return -ECONNREFUSED;
  if (socket->queue.empty()) {
    const bool non_blocking = (flags & MSG_DONTWAIT) != 0 || (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    return non_blocking ? -EAGAIN : -EDEADLK;
  }
  const MemoryDatagram& datagram = socket->queue.front();
  const std::size_t size = datagram.bytes.size();
  Bytes left = datagram.bytes;
  for (std::size_t i = 0; i < message->msg_iovlen && !left.empty(); ++i) {
    const std::size_t part = std::min(left.size(), message->msg_iov[i].iov_len);
    std::memcpy(message->msg_iov[i].iov_base, left.data(), part);
    left = left.subspan(part);
  }
  if (message->msg_name != nullptr)
    message->msg_namelen =
        write_address(socket->domain, datagram.from, message->msg_name, message->msg_namelen);
  write_control(*message, datagram,
                {.v4 = socket->v4(),
                 .overflow = socket->is_on(SOL_SOCKET, SO_RXQ_OVFL),
                 .packet_info = socket->ip_option(IP_PKTINFO, IPV6_RECVPKTINFO, 0) != 0,
                 .traffic_class = socket->ip_option(IP_RECVTOS, IPV6_RECVTCLASS, 0) != 0});
  message->msg_flags = left.empty() ? 0 : MSG_TRUNC;
  const std::size_t result = (flags & MSG_TRUNC) != 0 ? size : size - left.size();
  if ((flags & MSG_PEEK) == 0) {
    socket->queued_bytes -= size + datagram_cost;
    socket->queue.pop_front();
    socket->update_readiness();
  }
  return static_cast<ssize_t>(result);
}

void MemorySockets::tell_later(int fd, int error) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return;
  socket->pending_error = error;
  socket->update_readiness();
}

std::vector<MemorySockets::Socket*> MemorySockets::receivers_of(const MemoryDatagram& datagram,
                                                                int interface_index) {
  const Endpoint& to = datagram.to;
  const bool group = to.address.is_multicast();
  const bool all = group || kernel_.is_broadcast(to.address);
  std::vector<Socket*> found;
  int best = 0;
  for (const auto& [identity, socket] : sockets_) {
    if (!socket->local || socket->local->port != to.port || socket->readiness.abandoned()) continue;
    if (socket->peer && *socket->peer != datagram.from) continue;
    if (!socket->device.empty() && socket->device != "lo") continue;  // local datagrams come by "lo"
    if (group && !socket->is_member(to.address, interface_index) && !socket->is_member(to.address, 0))
      continue;
    const IpAddress& own = socket->local->address;
    const bool exact = own == to.address;
    if (!exact && !(own.is_unspecified() && (own.is_v4() == to.address.is_v4() || socket->takes_both())))
      continue;
    const int fit = (exact ? 1 : 0) + (socket->peer ? 2 : 0) + 1;
    if (!all && fit <= best) continue;
    if (!all) found.clear();
    best = fit;
    found.push_back(socket.get());
  }
  return found;
}

/// False for a datagram that the path does not take in one packet, where the socket or the run wants one.
bool MemorySockets::fits_path(const Socket& socket, const Endpoint& to, std::size_t size,
                              std::size_t segment) const {
  const auto loopback = kernel_.find("lo");
  if (!loopback || !kernel_.is_local(to.address)) return true;
  const std::size_t headers = to.address.is_v4() ? 28 : 48;
  const int discovery = socket.ip_option(IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_WANT);
  const bool whole = segment != 0 || discovery == IP_PMTUDISC_DO || discovery == IP_PMTUDISC_PROBE;
  return !whole || headers + (segment == 0 ? size : std::min(size, segment)) <= loopback->mtu;
}

ssize_t MemorySockets::sendmsg(int fd, const msghdr* message, int) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  MemoryDatagram datagram;
  Endpoint& to = datagram.to;
  if (message->msg_name == nullptr && socket->peer)
    to = *socket->peer;
  else if (const int error = read_address(socket->domain, message->msg_name, message->msg_namelen, to);
           error != 0)
    return error;
  if (to.port == 0) return -EINVAL;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
    const auto* const begin = static_cast<const std::byte*>(message->msg_iov[i].iov_base);
    datagram.bytes.insert(datagram.bytes.end(), begin, begin + message->msg_iov[i].iov_len);
  }
  const std::size_t size = datagram.bytes.size();
  if (size > (to.address.is_v4() ? most_payload : most_payload_v6)) return -EMSGSIZE;
  const MemorySendControl said = read_control(*message);
  if (!fits_path(*socket, to, size, said.segment_size)) return -EMSGSIZE;
  if (said.segment_size != 0 && size > said.segment_size * most_segments) return -EINVAL;
  if (said.from != IpAddress{} && !kernel_.is_local(said.from))
    return said.from.is_v4() ? -ENETUNREACH : -EINVAL;
  if (const int error = std::exchange(socket->pending_error, 0); error != 0) {
    socket->update_readiness();
    return -error;
  }
  // 0.0.0.0 and :: as destinations mean this host.
  if (to.address.is_unspecified()) to.address = loopback(to.address.is_v4() ? AF_INET : AF_INET6);
  datagram.local = said.from;
  const int tos = said.traffic_class >= 0 ? said.traffic_class : socket->ip_option(IP_TOS, IPV6_TCLASS, 0);
  datagram.traffic_class = static_cast<std::uint8_t>(tos);
  const int error = send(*socket, std::move(datagram), said.segment_size);
  return error != 0 ? error : static_cast<ssize_t>(size);
}

/// Sends a datagram, or a run. Returns zero or a negated errno. `datagram.local`: the source given by the
/// sender.
int MemorySockets::send(Socket& socket, MemoryDatagram datagram, std::size_t segment) {
  const Endpoint to = datagram.to;
  const bool group = to.address.is_multicast();
  const bool broadcast = kernel_.is_broadcast(to.address);
  const int out = group ? socket.ip_option(IP_MULTICAST_IF, IPV6_MULTICAST_IF, 0) : 0;
  const bool local = !broadcast && kernel_.is_local(to.address);
  if (!local && out == 0 && !broadcast && !kernel_.is_reachable(to.address)) return -ENETUNREACH;
  if (broadcast && !socket.is_on(SOL_SOCKET, SO_BROADCAST)) return -EACCES;
  if (!socket.local)
    if (const int error = bind_to(socket, {unspecified(socket.domain), 0}); error != 0) return error;
  datagram.from = *socket.local;
  if (datagram.local != IpAddress{}) datagram.from.address = datagram.local;
  if (datagram.from.address.is_unspecified())
    datagram.from.address = local ? to.address : loopback(socket.domain);
  datagram.local = local ? to.address : datagram.from.address;
  if (!local && !group && !broadcast) return 0;  // out by an interface
  if (group && socket.ip_option(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, 1) == 0) return 0;
  if (!socket.device.empty() && socket.device != "lo") return 0;
  const auto receivers = receivers_of(datagram, out);
  if (receivers.empty() && local && (socket.peer || socket.ip_option(IP_RECVERR, IPV6_RECVERR, 0) != 0)) {
    if (socket.ip_option(IP_RECVERR, IPV6_RECVERR, 0) != 0) socket.errors.push_back(to);
    socket.pending_error = ECONNREFUSED;
    socket.update_readiness();
  }
  const std::size_t size = datagram.bytes.size();
  for (Socket* const receiver : receivers) {
    if (segment == 0 || segment >= size) {
      put(*receiver, datagram);
    } else if (receiver->is_on(IPPROTO_UDP, UDP_GRO)) {
      MemoryDatagram run = datagram;
      run.segment_size = static_cast<std::uint16_t>(segment);
      put(*receiver, std::move(run));
    } else {
      for (std::size_t at = 0; at < size; at += segment) {
        const Bytes part = Bytes{datagram.bytes}.subspan(at, std::min(segment, size - at));
        MemoryDatagram one = datagram;
        one.bytes.assign(part.begin(), part.end());
        put(*receiver, std::move(one));
      }
    }
  }
  return 0;
}

void MemorySockets::put(Socket& receiver, MemoryDatagram datagram) {
  const auto room = static_cast<std::size_t>(receiver.option(SOL_SOCKET, SO_RCVBUF, default_buffer));
  if (receiver.queued_bytes >= room) {  // the datagram across the limit still fits, as in the kernel
    receiver.dropped += static_cast<std::uint32_t>(datagram.segment_size == 0
                                                       ? 1
                                                       : (datagram.bytes.size() + datagram.segment_size - 1) /
                                                             datagram.segment_size);
    return;
  }
  datagram.dropped = receiver.dropped;
  receiver.queued_bytes += datagram.bytes.size() + datagram_cost;
  receiver.queue.push_back(std::move(datagram));
  receiver.update_readiness();
}

}  // namespace tunport
