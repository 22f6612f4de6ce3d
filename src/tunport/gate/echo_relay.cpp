#include "tunport/gate/echo_relay.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <list>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/gate/icmp_error_internal.hpp"
#include "tunport/port/control_internal.hpp"
#include "tunport/protocol/ip_output_internal.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/ipv6.hpp"

namespace tunport {
namespace {

constexpr std::size_t buffer_size = 65536;
constexpr std::size_t burst = 64;            // replies, before the next descriptor's turn
constexpr std::size_t errors_in_a_row = 16;  // of an error queue, before the next descriptor's turn
constexpr double errors_per_second = 1000;   // as net.ipv4.icmp_msgs_per_sec of Linux
constexpr double errors_at_once = 50;        // as net.ipv4.icmp_msgs_burst
constexpr Duration sweep_interval = std::chrono::seconds{5};

struct EchoKey {
  IpAddress source;
  IpAddress destination;
  std::uint16_t identifier = 0;
  bool operator==(const EchoKey&) const = default;
  bool is_v6() const { return destination.is_v6(); }
};

struct EchoKeyHash {
  std::size_t operator()(const EchoKey& key) const noexcept {
    const std::size_t first = std::hash<IpAddress>{}(key.source) ^ key.identifier;
    return first ^ (std::hash<IpAddress>{}(key.destination) + 0x9e3779b9U + (first << 6) + (first >> 2));
  }
};

/// An echo request of a client.
struct EchoRequest {
  EchoKey key;
  std::uint16_t sequence = 0;
  Bytes payload = {};
};

std::uint16_t low_half(std::uint32_t rest) { return static_cast<std::uint16_t>(rest); }
std::uint16_t high_half(std::uint32_t rest) { return static_cast<std::uint16_t>(rest >> 16); }

/// Headers of a request, for an error to quote.
struct EchoQuotation {
  EchoQuotation(const EchoKey& key, std::uint16_t sequence, std::size_t payload) {
    const std::size_t most = 0xffff - Ipv4Header::size;
    const auto length = static_cast<std::uint16_t>(std::min(IcmpHeader::size + payload, most));
    if (!key.is_v6()) {
      header = Ipv4Header::size;
      Ipv4Header{.protocol = ip_protocol::icmp,
                 .source = key.source.v4(),
                 .destination = key.destination.v4(),
                 .payload_length = length}
          .emit(bytes);
    } else {
      header = Ipv6Header::size;
      Ipv6Header{.next_header = ip_protocol::icmpv6,
                 .source = key.source.v6(),
                 .destination = key.destination.v6(),
                 .payload_length = length}
          .emit(bytes);
    }
    store_u8(bytes, header, key.is_v6() ? icmpv6_type::echo_request : icmp_type::echo_request);
    store_be16(bytes, header + 4, key.identifier);
    store_be16(bytes, header + 6, sequence);
  }
  Bytes get() const { return Bytes{bytes}.first(header + IcmpHeader::size); }

  std::array<std::byte, Ipv6Header::size + IcmpHeader::size> bytes{};
  std::size_t header = 0;
};

/// Emits the header of an echo reply.
std::array<std::byte, IcmpHeader::size> reply_header(const EchoKey& key, std::uint16_t sequence,
                                                     Bytes payload) {
  std::array<std::byte, IcmpHeader::size> header;
  const std::uint32_t rest = IcmpHeader::echo_rest(key.identifier, sequence);
  if (key.is_v6())
    Icmpv6Header{.type = icmpv6_type::echo_reply, .rest = rest}.emit(header, payload, key.destination.v6(),
                                                                     key.source.v6());
  else
    IcmpHeader{.type = icmp_type::echo_reply, .rest = rest}.emit(header, payload);
  return header;
}

std::uint8_t icmp_of(bool v6) { return v6 ? ip_protocol::icmpv6 : ip_protocol::icmp; }

/// True if the kernel allows no ping sockets at all.
bool is_forbidden(int error) {
  return error == EACCES || error == EPERM || error == EPROTONOSUPPORT || error == EAFNOSUPPORT;
}

}  // namespace

struct EchoRelay::State {
  State(EchoRelay& owner, Reactor& loop, EchoRelayOptions given)
      : relay{owner}, reactor{loop}, options{std::move(given)} {}

  void request(const EchoRequest& echo, const IpDatagram& datagram);
  int make(const EchoKey& key, bool& forbidden);
  /// Ends a flow, whose memory goes in a turn of its own: a flow may end in a call of its own, by a write.
  void end(std::list<Flow>::iterator flow);
  void evict();
  void sweep();
  void pass_error(const EchoKey& key, IcmpErrorKind kind, Bytes quoted, std::uint32_t mtu);

  EchoRelay& relay;
  Reactor& reactor;
  EchoRelayOptions options;
  EchoRelayStatistics statistics;
  TokenBucket errors{errors_per_second, errors_at_once};
  std::list<Flow> flows;  // by the client's last request, the newest first
  std::unordered_map<EchoKey, std::list<Flow>::iterator, EchoKeyHash> places;
  std::unique_ptr<std::byte[]> buffer = std::make_unique_for_overwrite<std::byte[]>(buffer_size);
  std::list<Flow> ended;
  Reactor::Timer timer;
  Reactor::Timer clearing;
};

class EchoRelay::Flow final : public Watched {
 public:
  Flow(State& state, const EchoKey& key, UniqueFd socket)
      : state_{state}, key_{key}, socket_{std::move(socket)} {
    state_.reactor.add(*this);
  }
  ~Flow() override { end(); }
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  int fileno() const override { return socket_.get(); }
  bool reading() const override { return true; }
  bool writing() const override { return false; }
  void do_read() override;
  void do_write() override {}
  void do_error() override;

  void send(const EchoRequest& echo);
  /// Stops the watching, and closes the socket.
  void end() {
    if (std::exchange(ended_, true)) return;
    state_.reactor.remove(*this);
    socket_.reset();
  }
  const EchoKey& key() const { return key_; }
  bool is_over(TimePoint now) const { return now - used_ >= state_.options.idle; }

 private:
  int send_once(const EchoRequest& echo);
  bool reply(Bytes message);
  bool has_error();

  State& state_;
  EchoKey key_;
  UniqueFd socket_;
  std::uint16_t last_sequence_ = 0;  // of the client's last request
  std::size_t last_size_ = 0;
  TimePoint used_{};
  bool ended_ = false;  // not in the table any more: a callback's caller may still be at work
};

/// 0, or an errno.
int EchoRelay::Flow::send_once(const EchoRequest& echo) {
  std::array<std::byte, IcmpHeader::size> header{};  // the kernel fills in the identifier and the checksum
  store_u8(header, 0, key_.is_v6() ? icmpv6_type::echo_request : icmp_type::echo_request);
  store_be16(header, 6, echo.sequence);
  std::array<iovec, 2> parts{iovec{header.data(), header.size()},
                             iovec{const_cast<std::byte*>(echo.payload.data()), echo.payload.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) >= 0 ? 0 : errno;
}

void EchoRelay::Flow::send(const EchoRequest& echo) {
  used_ = state_.reactor.now();
  int error = send_once(echo);
  // An ICMP error to an earlier request is told by the next call, once: the second answer is this request's.
  if (error != 0 && error != EAGAIN && error != EMSGSIZE && has_error()) error = send_once(echo);
  last_sequence_ = echo.sequence;
  last_size_ = echo.payload.size();
  if (error == 0) {
    ++state_.statistics.requests;
    return;
  }
  ++state_.statistics.dropped;
  const bool told = error == EAGAIN || error == ENOBUFS || (error == EMSGSIZE && has_error());
  if (!told)
    state_.pass_error(key_, icmp_error_of(error), EchoQuotation{key_, last_sequence_, last_size_}.get(), 0);
}

/// Passes the entries of the error queue on. False: the queue was empty.
bool EchoRelay::Flow::has_error() {
  bool found = false;
  for (std::size_t i = 0; i < errors_in_a_row && !ended_; ++i) {
    sockaddr_storage receiver{};
    alignas(cmsghdr) std::array<std::byte, 512> control;
    std::array<std::byte, IcmpHeader::size> request;
    iovec part{request.data(), request.size()};
    msghdr message{};
    message.msg_name = &receiver;
    message.msg_namelen = sizeof receiver;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_ERRQUEUE);
    if (got < 0) break;
    const auto error = datagram_error(message, receiver);
    if (!error) continue;
    found = true;
    // The entry has the request from its ICMP header on.
    const bool has_request = error->icmp_type != 0 && got == static_cast<ssize_t>(request.size());
    const std::uint16_t sequence = has_request ? load_be16(request, 6) : last_sequence_;
    state_.pass_error(key_, icmp_error_of(*error), EchoQuotation{key_, sequence, last_size_}.get(),
                      error->mtu);
  }
  return found;
}

void EchoRelay::Flow::do_error() {
  has_error();
  if (ended_) return;
  // Without an entry for lack of memory, the error is taken from the socket: it would be reported for ever.
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
}

/// Passes a reply of the destination on, from its ICMP header on.
bool EchoRelay::Flow::reply(Bytes message) {
  const std::uint8_t type = key_.is_v6() ? icmpv6_type::echo_reply : icmp_type::echo_reply;
  FrameTransport* const port = state_.relay.connected_transport();
  if (port == nullptr || message.size() < IcmpHeader::size || load_u8(message, 0) != type) return false;
  const Bytes payload = message.subspan(IcmpHeader::size);
  const auto header = reply_header(key_, load_be16(message, 6), payload);
  const std::array<Bytes, 2> parts{header, payload};
  const IpOutput output{
      .source = key_.destination, .destination = key_.source, .protocol = icmp_of(key_.is_v6())};
  return static_cast<bool>(send_ip(output, parts, port->mtu(), [&](std::span<const Bytes> out) {
    // A fragment may have ended the port.
    return ended_ ? WriteResult::make_refused(DropReason::aborted) : port->write_sequence(out);
  }));
}

void EchoRelay::Flow::do_read() {
  const Cork cork{state_.reactor};
  for (std::size_t taken = 0; taken < burst && !ended_; ++taken) {
    const ssize_t got = ::recv(socket_.get(), state_.buffer.get(), buffer_size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno != EAGAIN) has_error();  // the call took the error from the socket
      return;
    }
    const bool replied = reply({state_.buffer.get(), static_cast<std::size_t>(got)});
    ++(replied ? state_.statistics.replies : state_.statistics.dropped);
  }
}

void EchoRelay::State::pass_error(const EchoKey& key, IcmpErrorKind kind, Bytes quoted, std::uint32_t mtu) {
  FrameTransport* const port = relay.connected_transport();
  const bool sent = port != nullptr && errors.take(reactor.now()) &&
                    send_icmp_error(*port, key.destination, key.source, kind, quoted, mtu);
  ++(sent ? statistics.errors_passed : statistics.errors_suppressed);
}

void EchoRelay::State::end(std::list<Flow>::iterator flow) {
  places.erase(flow->key());
  flow->end();
  if (ended.empty()) clearing = reactor.call_later(Duration::zero(), [this] { ended.clear(); });
  ended.splice(ended.begin(), flows, flow);
}

void EchoRelay::State::evict() {
  end(std::prev(flows.end()));
  ++statistics.flows_evicted;
}

/// Makes the newest flow. 0, or an errno; `forbidden`: the kernel allows no ping sockets.
int EchoRelay::State::make(const EchoKey& key, bool& forbidden) {
  const bool v6 = key.is_v6();
  const auto target =
      options.target ? options.target(key.source, key.destination) : std::optional{key.destination};
  if (!target || target->is_v6() != v6) return EPERM;
  const auto open = [v6] {
    return ::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP});
  };
  UniqueFd socket{open()};
  if (!socket && (errno == EMFILE || errno == ENFILE) && !flows.empty()) {
    evict();
    socket.reset(open());
  }
  if (!socket) {
    const int error = errno;
    forbidden = is_forbidden(error);
    return error;
  }
  const int one = 1;
  ::setsockopt(socket.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &one,
               sizeof one);
  sockaddr_storage address;
  const socklen_t length = Endpoint{*target, 0}.to_sockaddr(address);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return errno;
  if (flows.size() >= options.flows) evict();
  try {
    flows.emplace_front(*this, key, std::move(socket));
  } catch (const Error& error) {  // the reactor cannot watch another descriptor
    return error.code().value();
  }
  places.emplace(key, flows.begin());
  ++statistics.flows;
  if (flows.size() == 1) timer = reactor.call_later(sweep_interval, [this] { sweep(); });
  return 0;
}

void EchoRelay::State::request(const EchoRequest& echo, const IpDatagram& datagram) {
  bool forbidden = false;
  if (const auto place = places.find(echo.key); place != places.end()) {
    flows.splice(flows.begin(), flows, place->second);
  } else if (const int error = make(echo.key, forbidden); error != 0) {
    if (forbidden && options.answer_locally) {
      const auto header = reply_header(echo.key, echo.sequence, echo.payload);
      const std::array<Bytes, 2> parts{header, echo.payload};
      if (datagram.reply(icmp_of(echo.key.is_v6()), parts)) ++statistics.answered_locally;
      return;
    }
    ++statistics.flows_refused;
    return pass_error(echo.key, forbidden ? IcmpErrorKind::prohibited : icmp_error_of(error),
                      datagram.ip.bytes(), 0);
  }
  flows.front().send(echo);
}

void EchoRelay::State::sweep() {
  const TimePoint now = reactor.now();
  for (auto flow = flows.begin(); flow != flows.end();)
    if (const auto present = flow++; present->is_over(now)) end(present);
  if (!flows.empty()) timer = reactor.call_later(sweep_interval, [this] { sweep(); });
}

EchoRelay::EchoRelay(Reactor& reactor, EchoRelayOptions options) {
  if (options.flows == 0) throw std::invalid_argument("flows must be at least 1");
  if (options.idle < std::chrono::seconds{1}) throw std::invalid_argument("idle must be at least 1 second");
  state_ = std::make_unique<State>(*this, reactor, std::move(options));
}

EchoRelay::~EchoRelay() = default;

void EchoRelay::stop_protocol() { end_flows(); }

void EchoRelay::datagram_received(const IpDatagram& datagram) {
  FrameTransport& port = datagram.arrival.transport;
  const bool v6 = !datagram.ip.is_v4();
  if (datagram.protocol() != icmp_of(v6)) return port.drop(DropReason::icmp_unhandled);
  DropReason why{};
  EchoRequest echo;
  echo.key = {datagram.source(), datagram.destination()};
  const auto read = [&](const auto& message, std::uint8_t type) {
    if (!message) return false;
    echo.key.identifier = high_half(message->rest());
    echo.sequence = low_half(message->rest());
    echo.payload = message->payload();
    why = DropReason::icmp_unhandled;
    return message->type() == type && message->code() == 0;
  };
  const bool is_request =
      v6 ? read(Icmpv6View::checked(datagram.payload(), echo.key.source.v6(), echo.key.destination.v6(), why),
                icmpv6_type::echo_request)
         : read(IcmpView::checked(datagram.payload(), why), icmp_type::echo_request);
  if (!is_request) {
    const bool is_whole = why == DropReason::icmp_unhandled;
    if (!is_whole || !state_->options.on_error || !state_->options.on_error(datagram)) port.drop(why);
    return;
  }
  const bool to_group = echo.key.destination.is_multicast() || echo.key.source.is_multicast() ||
                        (!v6 && echo.key.destination.v4().is_broadcast());
  if (to_group) return port.drop(DropReason::icmp_unhandled);
  state_->request(echo, datagram);
}

std::size_t EchoRelay::flows() const { return state_->flows.size(); }

void EchoRelay::end_flows() {
  while (!state_->flows.empty()) state_->end(state_->flows.begin());
  state_->timer.cancel();
}

const EchoRelayStatistics& EchoRelay::statistics() const { return state_->statistics; }

}  // namespace tunport
