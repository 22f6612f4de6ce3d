#include "tunport/port/udp_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <ostream>
#include <utility>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/outbox_internal.hpp"
#include "tunport/port/udp_sink_internal.hpp"

namespace tunport {
namespace {

/// How many ICMP errors one read passes over.
constexpr int most_errors_told = 8;

sockaddr* as_sockaddr(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }

/// The socket's buffer, in bytes: what is asked for if this process may, else at most what the system allows.
void set_buffer(IoSystem& io, int fd, int force, int option, std::size_t size) {
  const int bytes = static_cast<int>(std::min<std::size_t>(size, INT_MAX / 2));
  if (bytes == 0 || io.setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof bytes) == 0) return;
  io.setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes);
}

std::size_t buffer_of(IoSystem& io, int fd, int option) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  return fd >= 0 && io.getsockopt(fd, SOL_SOCKET, option, &bytes, &length) == 0
             ? static_cast<std::size_t>(bytes)
             : 0;
}

bool switch_on(IoSystem& io, int fd, int level, int option) {
  const int on = 1;
  return io.setsockopt(fd, level, option, &on, sizeof on) == 0;
}

/// Whether the kernel segments runs for this socket: it knows the option.
bool knows_segments(IoSystem& io, int fd) {
  const int none = 0;
  return io.setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
}

/// What the kernel says beside a datagram.
struct Beside {
  std::size_t segment_size = 0;          // of a run; 0: one datagram
  std::optional<std::uint32_t> dropped;  // by the socket so far, for want of buffer
};

Beside beside(msghdr& message) {
  Beside found;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) {
      int size = 0;
      std::memcpy(&size, CMSG_DATA(header), sizeof size);
      if (size > 0) found.segment_size = static_cast<std::size_t>(size);
    } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SO_RXQ_OVFL) {
      std::uint32_t dropped = 0;
      std::memcpy(&dropped, CMSG_DATA(header), sizeof dropped);
      found.dropped = dropped;
    }
  }
  return found;
}

}  // namespace

struct UdpPort::State {
  explicit State(UdpPort& port)
      : sink{socket,           port.options().system.io,       port.local_.address.is_v4(),
             port.statistics_, port.options().max_packet_size, port.log_prefix()},
        outbox{sink,
               port,
               port.reactor(),
               port.statistics_,
               port.options().queue_limit,
               std::max(port.options().max_packet_size, max_super_packet)} {}

  UniqueFd socket;
  Endpoint bound;
  UdpSink sink;
  Outbox<UdpSink> outbox;
  std::uint32_t dropped = 0;  // by the socket, as the kernel said last
};

UdpPort::UdpPort(Reactor& reactor, const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : BasePort{reactor, std::move(options)},
      local_{local},
      protocol_{protocol},
      state_{std::make_unique<State>(*this)} {
  set_log_prefix(protocol_.name() + " (UDP)");
}

UdpPort::UdpPort(const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : UdpPort{default_reactor(), local, protocol, std::move(options)} {}

UdpPort::~UdpPort() { abandon(); }

std::size_t UdpPort::bind_device(std::error_code& ec) try {
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
    return 0;
  }
  const SocketOptions& wanted = options().socket;
  set_buffer(io, socket.get(), SO_RCVBUFFORCE, SO_RCVBUF, wanted.receive_buffer);
  set_buffer(io, socket.get(), SO_SNDBUFFORCE, SO_SNDBUF, wanted.send_buffer);
  switch_on(io, socket.get(), SOL_SOCKET, SO_RXQ_OVFL);
  if (options().offload.uso) switch_on(io, socket.get(), IPPROTO_UDP, UDP_GRO);
  state_->sink.reset(options().offload.uso && knows_segments(io, socket.get()));
  state_->dropped = 0;
  state_->bound = Endpoint::from_sockaddr(storage).value_or(local_);
  state_->socket = std::move(socket);
  return std::max(options().max_packet_size, max_super_packet) + 1;
} catch (const Error& failure) {
  ec = failure.code();
  return 0;
}

void UdpPort::close_device() noexcept { state_->socket.reset(); }
int UdpPort::fileno() const { return state_->socket.get(); }
AnyOutbox& UdpPort::outbox() const { return state_->outbox; }

ssize_t UdpPort::receive_packet(MutableBytes space) {
  space = space.subspan(headroom);
  sockaddr_storage source;
  iovec part{space.data(), space.size()};
  msghdr message{};
  message.msg_name = &source;
  message.msg_namelen = sizeof source;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, 256> control;
  ssize_t got = 0;
  // The kernel tells of ICMP errors to earlier datagrams of ours first, one in each call.
  int told = 0;
  do {
    message.msg_namelen = sizeof source;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    got = options().system.io.recvmsg(fileno(), &message, 0);
  } while ((got == -ECONNREFUSED || got == -EHOSTUNREACH || got == -ENETUNREACH) &&
           ++told < most_errors_told);
  if (got < 0) return told == most_errors_told ? -EAGAIN : got;
  const auto size = static_cast<std::size_t>(got);
  const Beside said = beside(message);
  if (said.dropped) {
    const std::uint32_t dropped = *said.dropped - std::exchange(state_->dropped, *said.dropped);
    if (dropped != 0) count_drop(statistics_, DropReason::receive_overflow, dropped);
  }
  const bool is_run = said.segment_size != 0 && said.segment_size < size;
  const std::size_t step = is_run ? said.segment_size : std::max<std::size_t>(size, 1);
  const std::size_t datagrams = is_run ? (size + step - 1) / step : 1;
  statistics_.packets_in += datagrams;
  statistics_.bytes_in += size;
  if (is_run) ++statistics_.super_packets_in;
  const auto from = Endpoint::from_sockaddr(source);
  if ((message.msg_flags & MSG_TRUNC) != 0 || std::min(step, size) > options().max_packet_size || !from) {
    count_drop(statistics_, from ? DropReason::truncated : DropReason::bad_framing, datagrams);
    return got;
  }
  deliver({space.first(size), step, *from});
  return got;
}

void UdpPort::deliver(const Datagrams& run) {
  PacketOrigin& origin = packet_origin();
  origin.ended = false;
  if (protocol_.accepts_super_packets()) {
    guarded(&protocol_, [&] {
      protocol_.make_connection(*this);
      protocol_.datagrams_received(run);
    });
    return;
  }
  for (std::size_t i = 0, count = run.size(); i < count; ++i) {
    if (origin.ended) {
      origin.aborted += count - i;
      return;
    }
    guarded(&protocol_, [&] {
      protocol_.make_connection(*this);
      protocol_.datagram_received(run[i], run.from);
    });
  }
}

void UdpPort::do_error() {
  if (!state_->socket) return;
  int error = 0;
  socklen_t length = sizeof error;
  options().system.io.getsockopt(fileno(), SOL_SOCKET, SO_ERROR, &error,
                                 &length);  // reading it clears it
}

WriteResult UdpPort::write_to(const Endpoint& to, Bytes data) {
  return state_->outbox.write({to}, {.bytes = {&data, 1}});
}

std::size_t UdpPort::write_some_data(Bytes /*data*/, std::error_code& ec) {
  ec = errno_code(EDESTADDRREQ);
  return 0;
}

std::size_t UdpPort::receive_buffer() const { return buffer_of(options().system.io, fileno(), SO_RCVBUF); }
std::size_t UdpPort::send_buffer() const { return buffer_of(options().system.io, fileno(), SO_SNDBUF); }

Endpoint UdpPort::get_host() const { return state_->socket ? state_->bound : local_; }

void UdpPort::drop(DropReason reason) { count_drop(statistics_, reason); }

std::string UdpPort::subject() const { return to_string(local_); }

std::string to_string(const UdpPort& port) {
  return '<' + port.log_prefix() + " on " + to_string(port.get_host()) +
         (port.listening() ? ", listening>" : ", not listening>");
}

std::ostream& operator<<(std::ostream& out, const UdpPort& port) { return out << to_string(port); }

}  // namespace tunport
