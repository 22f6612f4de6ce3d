#include "tunport/testing/memory_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include "tunport/testing/memory_kernel.hpp"

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

bool is_unspecified(const IpAddress& address) {
  return address.is_v4() ? address.v4().is_unspecified() : address.v6().is_unspecified();
}

/// An IPv4 address in the form of an IPv6 socket: ::ffff:a.b.c.d.
IpAddress mapped(const IpAddress& address) {
  if (address.is_v6()) return address;
  std::array<std::byte, 16> bytes{};
  bytes[10] = bytes[11] = std::byte{0xff};
  address.v4().store(bytes, 12);
  return Ipv6Address::load(bytes, 0);
}

IpAddress unmapped(const IpAddress& address) {
  if (address.is_v4()) return address;
  const auto& octets = address.v6().octets();
  const bool is_mapped = std::all_of(octets.begin(), octets.begin() + 10, [](auto o) { return o == 0; }) &&
                         octets[10] == 0xff && octets[11] == 0xff;
  if (!is_mapped) return address;
  return Ipv4Address::load(std::as_bytes(std::span{octets}), 12);
}

/// The endpoint of a call's address: zero, or a negated errno.
int read_address(int domain, const void* address, socklen_t length, Endpoint& endpoint) {
  if (address == nullptr) return -EDESTADDRREQ;
  if (length < (domain == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6))) return -EINVAL;
  sockaddr_storage storage{};
  std::memcpy(&storage, address, std::min<std::size_t>(length, sizeof storage));
  if (storage.ss_family != domain) return -EAFNOSUPPORT;
  endpoint = *Endpoint::from_sockaddr(storage);
  endpoint.address = unmapped(endpoint.address);
  return 0;
}

/// UDP_MAX_SEGMENTS of Linux before 6.9.
constexpr std::size_t most_segments = 64;

/// The value of UDP_SEGMENT beside a datagram; 0 without the value.
std::size_t segment_size_of(const msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != IPPROTO_UDP || header->cmsg_type != UDP_SEGMENT) continue;
    std::uint16_t size = 0;
    std::memcpy(&size, CMSG_DATA(header), sizeof size);
    return size;
  }
  return 0;
}

/// Writes UDP_GRO and SO_RXQ_OVFL beside a datagram, unless 0, as far as the room suffices.
void write_control(msghdr& message, std::uint16_t segment_size, std::uint32_t dropped) {
  const std::size_t room = message.msg_control != nullptr ? message.msg_controllen : 0;
  std::size_t used = 0;
  const auto add = [&](int level, int type, std::uint32_t value) {
    if (value == 0 || used + CMSG_SPACE(sizeof value) > room) return;
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(sizeof value);
    auto* const at = static_cast<std::byte*>(message.msg_control) + used;
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
    used += CMSG_SPACE(sizeof value);
  };
  add(SOL_SOCKET, SO_RXQ_OVFL, dropped);
  add(IPPROTO_UDP, UDP_GRO, segment_size);
  message.msg_controllen = used;
}

/// Writes an address as the kernel does: cut off at the room, with the full length.
socklen_t write_address(int domain, Endpoint endpoint, void* address, socklen_t room) {
  if (domain == AF_INET6) endpoint.address = mapped(endpoint.address);
  sockaddr_storage storage{};
  const socklen_t length = endpoint.to_sockaddr(storage);
  std::memcpy(address, &storage, std::min(room, length));
  return length;
}

}  // namespace

int MemorySockets::Socket::option(int level, int name, int otherwise) const {
  const auto found = options.find({level, name});
  return found == options.end() ? otherwise : found->second;
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
  const int fd = socket->readiness.open(((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0) |
                                        ((type & SOCK_CLOEXEC) != 0 ? O_CLOEXEC : 0));
  if (fd >= 0) sockets_.emplace(socket->readiness.identity(), std::move(socket));
  return fd;
}

bool MemorySockets::is_taken(const Socket& socket, const Endpoint& wanted) const {
  const auto covers = [](const Socket& one, const IpAddress& its, const IpAddress& other) {
    return its == other ||
           (is_unspecified(its) && (its.is_v4() == other.is_v4() || (its.is_v6() && one.takes_both())));
  };
  return std::ranges::any_of(sockets_, [&](const auto& entry) {
    const Socket& other = *entry.second;
    if (&other == &socket || !other.local || other.local->port != wanted.port) return false;
    const bool shared =
        other.option(SOL_SOCKET, SO_REUSEADDR, 0) != 0 && socket.option(SOL_SOCKET, SO_REUSEADDR, 0) != 0;
    return !shared && (covers(other, other.local->address, wanted.address) ||
                       covers(socket, wanted.address, other.local->address));
  });
}

int MemorySockets::bind_to(Socket& socket, Endpoint wanted) {
  if (!is_unspecified(wanted.address) && !kernel_.is_local(wanted.address)) return -EADDRNOTAVAIL;
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

int MemorySockets::getsockname(int fd, sockaddr* address, socklen_t* length) {
  const Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  const Endpoint local = socket->local.value_or(Endpoint{unspecified(socket->domain), 0});
  *length = write_address(socket->domain, local, address, *length);
  return 0;
}

int MemorySockets::getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  const Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  int number = 0;
  if (const auto set = socket->options.find({level, option}); set != socket->options.end())
    number = set->second;
  else if (level == SOL_SOCKET && option == SO_TYPE)
    number = SOCK_DGRAM;
  else if (level == SOL_SOCKET && option == SO_DOMAIN)
    number = socket->domain;
  else if (level == SOL_SOCKET && option == SO_PROTOCOL)
    number = IPPROTO_UDP;
  else if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_SNDBUF))
    number = default_buffer;
  else if (!(level == SOL_SOCKET && (option == SO_ERROR || option == SO_REUSEADDR)) &&
           !(level == IPPROTO_IPV6 && option == IPV6_V6ONLY))
    return -ENOPROTOOPT;
  *length = std::min<socklen_t>(*length, sizeof number);
  std::memcpy(value, &number, *length);
  return 0;
}

int MemorySockets::setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  int number = 0;
  if (length < sizeof number) return -EINVAL;
  std::memcpy(&number, value, sizeof number);
  if (level == SOL_SOCKET && (option == SO_RCVBUFFORCE || option == SO_SNDBUFFORCE)) {
    option = option == SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF;
    socket->options[{level, option}] = std::clamp(number, 1152, INT_MAX / 2) * 2;
    return 0;
  }
  // The kernel doubles the value, for the kernel's overhead (socket(7)).
  if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_SNDBUF))
    number = std::clamp(number, 1152, default_buffer) * 2;
  socket->options[{level, option}] = number;
  return 0;
}

ssize_t MemorySockets::recvmsg(int fd, msghdr* message, int flags) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->queue.empty()) {
    const bool non_blocking = (flags & MSG_DONTWAIT) != 0 || (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    return non_blocking ? -EAGAIN : -EDEADLK;
  }
  const Datagram& datagram = socket->queue.front();
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
  write_control(*message, datagram.segment_size,
                socket->option(SOL_SOCKET, SO_RXQ_OVFL, 0) != 0 ? datagram.dropped : 0);
  message->msg_flags = left.empty() ? 0 : MSG_TRUNC;
  const std::size_t result = (flags & MSG_TRUNC) != 0 ? size : size - left.size();
  if ((flags & MSG_PEEK) == 0) {
    socket->queued_bytes -= size + datagram_cost;
    socket->queue.pop_front();
    if (socket->queue.empty()) socket->readiness.set_readable(false);
  }
  return static_cast<ssize_t>(result);
}

MemorySockets::Socket* MemorySockets::receiver_of(const Endpoint& to) {
  Socket* best = nullptr;
  for (const auto& [identity, socket] : sockets_) {
    if (!socket->local || socket->local->port != to.port) continue;
    if (socket->local->address == to.address) return socket.get();
    const IpAddress& own = socket->local->address;
    if (is_unspecified(own) && (own.is_v4() == to.address.is_v4() || socket->takes_both()))
      best = socket.get();
  }
  return best;
}

ssize_t MemorySockets::sendmsg(int fd, const msghdr* message, int) {
  Socket* const socket = find(fd);
  if (socket == nullptr) return -EBADF;
  Endpoint to;
  if (const int error = read_address(socket->domain, message->msg_name, message->msg_namelen, to); error != 0)
    return error;
  if (to.port == 0) return -EINVAL;
  Datagram datagram;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
    const auto* const begin = static_cast<const std::byte*>(message->msg_iov[i].iov_base);
    datagram.bytes.insert(datagram.bytes.end(), begin, begin + message->msg_iov[i].iov_len);
  }
  const std::size_t size = datagram.bytes.size();
  if (size > (to.address.is_v4() ? most_payload : most_payload_v6)) return -EMSGSIZE;
  const std::size_t segment = segment_size_of(*message);
  if (segment != 0 && size > segment * most_segments) return -EINVAL;
  // 0.0.0.0 and :: as destinations mean this host.
  if (is_unspecified(to.address))
    to.address = to.address.is_v4() ? IpAddress{Ipv4Address{0x7f000001}} : *IpAddress::parse("::1");
  if (!kernel_.is_local(to.address))
    return kernel_.is_reachable(to.address) ? static_cast<ssize_t>(size) : -ENETUNREACH;
  if (!socket->local)
    if (const int error = bind_to(*socket, {unspecified(socket->domain), 0}); error != 0) return error;
  datagram.from = *socket->local;
  if (is_unspecified(datagram.from.address)) datagram.from.address = to.address;
  Socket* const receiver = receiver_of(to);
  if (receiver == nullptr) return static_cast<ssize_t>(size);
  if (segment == 0 || segment >= size) {
    put(*receiver, std::move(datagram));
  } else if (receiver->option(IPPROTO_UDP, UDP_GRO, 0) != 0) {
    datagram.segment_size = static_cast<std::uint16_t>(segment);
    put(*receiver, std::move(datagram));
  } else {
    for (std::size_t at = 0; at < size; at += segment) {
      const Bytes part = Bytes{datagram.bytes}.subspan(at, std::min(segment, size - at));
      put(*receiver, {.from = datagram.from, .bytes = {part.begin(), part.end()}});
    }
  }
  return static_cast<ssize_t>(size);
}

void MemorySockets::put(Socket& receiver, Datagram datagram) {
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
  receiver.readiness.set_readable(true);
}

}  // namespace tunport
