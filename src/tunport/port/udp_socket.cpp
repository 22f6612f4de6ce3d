#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tunport/port/udp_socket_internal.hpp"

namespace tunport {
namespace {

const sockaddr* as_sockaddr(const sockaddr_storage& storage) {
  return reinterpret_cast<const sockaddr*>(&storage);
}

/// Sets the options of a socket, until the first failure.
class Setup {
 public:
  Setup(IoSystem& io, int fd, bool v4) : io_{io}, fd_{fd}, v4_{v4} {}

  void set(const char* name, int level, int option, const void* value, std::size_t size) {
    if (failure_.error != 0) return;
    const int error = io_.setsockopt(fd_, level, option, value, static_cast<socklen_t>(size));
    if (error < 0) failure_ = {-error, name};
  }
  void set(const char* name, int level, int option, int value) {
    set(name, level, option, &value, sizeof value);
  }
  /// Sets an option with different numbers for IPv4 and IPv6.
  void set_ip(const char* name, int option_v4, int option_v6, int value) {
    set(name, v4_ ? IPPROTO_IP : IPPROTO_IPV6, v4_ ? option_v4 : option_v6, value);
  }
  /// Sets an option that may fail.
  void try_ip(int option_v4, int option_v6, int value) {
    io_.setsockopt(fd_, v4_ ? IPPROTO_IP : IPPROTO_IPV6, v4_ ? option_v4 : option_v6, &value, sizeof value);
  }
  void try_set(int level, int option, int value) { io_.setsockopt(fd_, level, option, &value, sizeof value); }
  /// Sets the size of a buffer: the requested size with privilege, else at most the system's bound.
  void set_buffer(int force, int option, std::size_t size) {
    const int bytes = static_cast<int>(std::min<std::size_t>(size, INT_MAX / 2));
    if (bytes == 0 || io_.setsockopt(fd_, SOL_SOCKET, force, &bytes, sizeof bytes) == 0) return;
    try_set(SOL_SOCKET, option, bytes);
  }
  template <class Call>
  void call(const char* name, Call call) {
    if (failure_.error != 0) return;
    if (const int error = call(); error < 0) failure_ = {-error, name};
  }
  SetupFailure failure() const { return failure_; }

 private:
  IoSystem& io_;
  int fd_;
  bool v4_;
  SetupFailure failure_;
};

int discovery(PathMtu how) {
  switch (how) {
    case PathMtu::fragment:
      return IP_PMTUDISC_DONT;
    case PathMtu::dont_fragment:
      return IP_PMTUDISC_DO;
    default:
      return IP_PMTUDISC_PROBE;
  }
}

}  // namespace

SetupFailure set_up_socket(IoSystem& io, int fd, const Endpoint& local, const SocketOptions& options,
                           bool offload) {
  const bool v4 = local.address.is_v4();
  Setup setup{io, fd, v4};
  if (!v4) setup.set("", IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (options.reuse_port) setup.set("reuse_port", SOL_SOCKET, SO_REUSEPORT, 1);
  if (!options.device.empty())
    setup.set("device", SOL_SOCKET, SO_BINDTODEVICE, options.device.data(), options.device.size());
  if (options.broadcast) setup.set("broadcast", SOL_SOCKET, SO_BROADCAST, 1);
  if (options.mark) setup.set("mark", SOL_SOCKET, SO_MARK, static_cast<int>(*options.mark));
  if (options.traffic_class) setup.set_ip("traffic_class", IP_TOS, IPV6_TCLASS, *options.traffic_class);
  if (options.receive_traffic_class) setup.set_ip("receive_traffic_class", IP_RECVTOS, IPV6_RECVTCLASS, 1);
  if (options.hop_limit) setup.set_ip("hop_limit", IP_TTL, IPV6_UNICAST_HOPS, *options.hop_limit);
  if (options.path_mtu != PathMtu::system)
    setup.set_ip("path_mtu", IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, discovery(options.path_mtu));
  if (options.multicast_hop_limit)
    setup.set_ip("multicast_hop_limit", IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, *options.multicast_hop_limit);
  if (options.multicast_loop)
    setup.set_ip("multicast_loop", IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, *options.multicast_loop ? 1 : 0);
  if (!options.multicast_device.empty()) {
    ip_mreqn wanted{};
    wanted.imr_ifindex = interface_index(io, fd, options.multicast_device);
    setup.call("multicast_device", [&] { return wanted.imr_ifindex; });
    if (v4)
      setup.set("multicast_device", IPPROTO_IP, IP_MULTICAST_IF, &wanted, sizeof wanted);
    else
      setup.set("multicast_device", IPPROTO_IPV6, IPV6_MULTICAST_IF, wanted.imr_ifindex);
  }
  sockaddr_storage storage;
  const socklen_t length = local.to_sockaddr(storage);
  setup.call("", [&] { return io.bind(fd, as_sockaddr(storage), length); });
  setup.set_buffer(SO_RCVBUFFORCE, SO_RCVBUF, options.receive_buffer);
  setup.set_buffer(SO_SNDBUFFORCE, SO_SNDBUF, options.send_buffer);
  setup.try_set(SOL_SOCKET, SO_RXQ_OVFL, 1);
  setup.try_ip(IP_RECVERR, IPV6_RECVERR, 1);
  if (local.address.is_unspecified() || local.address.is_multicast())
    setup.try_ip(IP_PKTINFO, IPV6_RECVPKTINFO, 1);
  if (offload) setup.try_set(IPPROTO_UDP, UDP_GRO, 1);
  if (options.peer) {
    sockaddr_storage peer;
    const socklen_t size = options.peer->to_sockaddr(peer);
    setup.call("peer", [&] { return io.connect(fd, as_sockaddr(peer), size); });
  }
  return setup.failure();
}

bool knows_segments(IoSystem& io, int fd) {
  const int none = 0;
  return io.setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
}

std::size_t buffer_size(IoSystem& io, int fd, int option) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  return fd >= 0 && io.getsockopt(fd, SOL_SOCKET, option, &bytes, &length) == 0
             ? static_cast<std::size_t>(bytes)
             : 0;
}

Endpoint local_endpoint(IoSystem& io, int fd, const Endpoint& otherwise) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (io.getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return otherwise;
  return Endpoint::from_sockaddr(storage).value_or(otherwise);
}

int interface_index(IoSystem& io, int fd, const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return -ENODEV;
  std::memcpy(request.ifr_name, name.data(), name.size());
  const int error = io.ioctl(fd, SIOCGIFINDEX, &request);
  return error < 0 ? error : request.ifr_ifindex;
}

int change_membership(IoSystem& io, int fd, const IpAddress& group, unsigned interface_index, bool join) {
  if (!group.is_multicast()) return EINVAL;
  int error = 0;
  if (group.is_v4()) {
    ip_mreqn wanted{};
    wanted.imr_multiaddr.s_addr = network_order(group.v4().value());
    wanted.imr_ifindex = static_cast<int>(interface_index);
    error =
        io.setsockopt(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &wanted, sizeof wanted);
  } else {
    ipv6_mreq wanted{};
    std::memcpy(&wanted.ipv6mr_multiaddr, group.v6().octets().data(), Ipv6Address::size);
    wanted.ipv6mr_interface = interface_index;
    error =
        io.setsockopt(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &wanted, sizeof wanted);
  }
  return -error;
}

}  // namespace tunport
