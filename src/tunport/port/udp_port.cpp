#include "tunport/port/udp_port.hpp"

#include <cerrno>
#include <cstring>
#include <ostream>
#include <type_traits>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/count_drop_internal.hpp"

namespace tunport {
namespace {

// A queued record is the destination, then the data.
static_assert(std::is_trivially_copyable_v<Endpoint>);
Bytes bytes_of(const Endpoint& endpoint) { return std::as_bytes(std::span{&endpoint, 1}); }

sockaddr* as_sockaddr(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }

}  // namespace

UdpPort::UdpPort(Reactor& reactor, const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : BasePort{reactor, std::move(options)}, local_{local}, protocol_{protocol} {
  set_log_prefix(protocol_.name() + " (UDP)");
}

UdpPort::UdpPort(const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : UdpPort{default_reactor(), local, protocol, std::move(options)} {}

UdpPort::~UdpPort() { abandon(); }

void UdpPort::bind_device(std::error_code& ec) try {
  UniqueFd socket = create_internet_socket(local_.address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM);
  IoSystem& io = options().system.io;
  int error = 0;
  if (local_.address.is_v6()) {
    const int only = 1;
    error = io.setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  sockaddr_storage storage;
  socklen_t length = local_.to_sockaddr(storage);
  if (error == 0) error = io.bind(socket.get(), as_sockaddr(storage), length);
  length = sizeof storage;
  if (error == 0) error = io.getsockname(socket.get(), as_sockaddr(storage), &length);
  if (error < 0) {
    ec = errno_code(-error);
    return;
  }
  bound_ = Endpoint::from_sockaddr(storage).value_or(local_);
  socket_ = std::move(socket);
} catch (const Error& failure) {
  ec = failure.code();
}

ssize_t UdpPort::receive_packet(MutableBytes space) {
  space = space.subspan(headroom);
  sockaddr_storage source;
  iovec part{space.data(), space.size()};
  msghdr message{};
  message.msg_name = &source;
  message.msg_namelen = sizeof source;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t got = options().system.io.recvmsg(socket_.get(), &message, 0);
  // An ICMP error to an earlier datagram of ours: not the end of the socket.
  if (got == -ECONNREFUSED || got == -EHOSTUNREACH || got == -ENETUNREACH) return -EINTR;
  if (got < 0) return got;
  const auto size = static_cast<std::size_t>(got);
  ++statistics_.packets_in;
  statistics_.bytes_in += size;
  const auto from = Endpoint::from_sockaddr(source);
  if ((message.msg_flags & MSG_TRUNC) != 0 || size > options().max_packet_size || !from) {
    count_drop(statistics_, from ? DropReason::truncated : DropReason::bad_framing);
    return got;
  }
  guarded([&] {
    protocol_.make_connection(*this);
    protocol_.datagram_received(space.first(size), *from);
  });
  return got;
}

int UdpPort::transmit(std::span<const Bytes> parts) {
  Endpoint to;
  Bytes data = parts.back();
  std::memcpy(&to, parts.front().data(), sizeof to);
  if (parts.size() == 1) data = data.subspan(sizeof to);
  sockaddr_storage storage;
  iovec part{const_cast<std::byte*>(data.data()), data.size()};
  msghdr message{};
  message.msg_name = &storage;
  message.msg_namelen = to.to_sockaddr(storage);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t sent = options().system.io.sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (sent < 0) return static_cast<int>(-sent);
  note_sent(data.size());
  return 0;
}

void UdpPort::do_error() {
  int error = 0;
  socklen_t length = sizeof error;
  options().system.io.getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error,
                                 &length);  // reading it clears it
}

WriteResult UdpPort::write_to(const Endpoint& to, Bytes data) {
  if (data.size() > options().max_packet_size) return refuse(DropReason::too_long);
  if (to.address.is_v4() != local_.address.is_v4()) return refuse(DropReason::no_route);
  const std::array<Bytes, 2> parts{bytes_of(to), data};
  return submit(parts);
}

std::size_t UdpPort::write_some_data(Bytes /*data*/, std::error_code& ec) {
  ec = errno_code(EDESTADDRREQ);
  return 0;
}

Endpoint UdpPort::get_host() const { return socket_ ? bound_ : local_; }

void UdpPort::drop(DropReason reason) { count_drop(statistics_, reason); }

std::string UdpPort::subject() const { return to_string(local_); }

std::string to_string(const UdpPort& port) {
  return '<' + port.log_prefix() + " on " + to_string(port.get_host()) +
         (port.listening() ? ", listening>" : ", not listening>");
}

std::ostream& operator<<(std::ostream& out, const UdpPort& port) { return out << to_string(port); }

}  // namespace tunport
