#include "tunport/port/udp_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <ostream>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/outbox_internal.hpp"

namespace tunport {
namespace {

/// How many ICMP errors one read passes over.
constexpr int most_errors_told = 8;

sockaddr* as_sockaddr(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }

/// A sink of datagrams, each with its receiver.
class UdpSink {
 public:
  using Tag = Endpoint;

  UdpSink(const UniqueFd& socket, bool v4, Statistics& statistics, const PortOptions& options)
      : socket_{socket}, v4_{v4}, statistics_{statistics}, options_{options} {}

  std::optional<DropReason> objection(const Endpoint& to, const Parts& parts) const {
    if (parts.size() > options_.max_packet_size) return DropReason::too_long;
    if (to.address.is_v4() != v4_) return DropReason::no_route;
    return std::nullopt;
  }
  bool gathers() const { return false; }
  bool has_gathered() const { return false; }
  bool gather(const Endpoint&, const Parts&) { return false; }
  template <class Call>
  void give(Call) {}
  int write(const Endpoint& to, const Parts& parts);
  std::size_t datagrams(const Endpoint&, std::size_t) const { return 1; }
  std::size_t done() const { return 0; }
  void forget() {}

 private:
  const UniqueFd& socket_;
  bool v4_;
  Statistics& statistics_;
  const PortOptions& options_;
};
static_assert(Sink<UdpSink>);

int UdpSink::write(const Endpoint& to, const Parts& parts) {
  std::array<iovec, max_write_parts> gathered;
  std::ranges::transform(parts.bytes, gathered.begin(), [](Bytes part) {
    return iovec{const_cast<std::byte*>(part.data()), part.size()};
  });
  sockaddr_storage storage;
  msghdr message{};
  message.msg_name = &storage;
  message.msg_namelen = to.to_sockaddr(storage);
  message.msg_iov = gathered.data();
  message.msg_iovlen = parts.bytes.size();
  const ssize_t sent = options_.system.io.sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (sent < 0) return static_cast<int>(-sent);
  ++statistics_.packets_out;
  statistics_.bytes_out += static_cast<std::size_t>(sent);
  return 0;
}

}  // namespace

struct UdpPort::State {
  explicit State(UdpPort& port)
      : sink{socket, port.local_.address.is_v4(), port.statistics_, port.options()},
        outbox{sink,
               port,
               port.reactor(),
               port.statistics_,
               port.options().queue_limit,
               port.options().max_packet_size} {}

  UniqueFd socket;
  Endpoint bound;
  UdpSink sink;
  Outbox<UdpSink> outbox;
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
  state_->bound = Endpoint::from_sockaddr(storage).value_or(local_);
  state_->socket = std::move(socket);
  return options().max_packet_size + 1;
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
  ssize_t got = 0;
  // The kernel tells of ICMP errors to earlier datagrams of ours first, one in each call.
  int told = 0;
  do got = options().system.io.recvmsg(fileno(), &message, 0);
  while ((got == -ECONNREFUSED || got == -EHOSTUNREACH || got == -ENETUNREACH) && ++told < most_errors_told);
  if (got < 0) return told == most_errors_told ? -EAGAIN : got;
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

void UdpPort::do_error() {
  if (!state_->socket) return;
  int error = 0;
  socklen_t length = sizeof error;
  options().system.io.getsockopt(fileno(), SOL_SOCKET, SO_ERROR, &error,
                                 &length);  // reading it clears it
}

WriteResult UdpPort::write_to(const Endpoint& to, Bytes data) {
  return state_->outbox.write(to, {.bytes = {&data, 1}});
}

std::size_t UdpPort::write_some_data(Bytes /*data*/, std::error_code& ec) {
  ec = errno_code(EDESTADDRREQ);
  return 0;
}

Endpoint UdpPort::get_host() const { return state_->socket ? state_->bound : local_; }

void UdpPort::drop(DropReason reason) { count_drop(statistics_, reason); }

std::string UdpPort::subject() const { return to_string(local_); }

std::string to_string(const UdpPort& port) {
  return '<' + port.log_prefix() + " on " + to_string(port.get_host()) +
         (port.listening() ? ", listening>" : ", not listening>");
}

std::ostream& operator<<(std::ostream& out, const UdpPort& port) { return out << to_string(port); }

}  // namespace tunport
