#include "tunport/gate/udp_relay.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <list>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/gate/icmp_error_internal.hpp"
#include "tunport/port/control_internal.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport {
namespace {

constexpr std::size_t buffer_size = 65536;
constexpr std::size_t burst = 64;            // datagrams, before the next descriptor's turn
constexpr std::size_t most_segments = 64;    // of a run that every kernel with UDP_SEGMENT takes
constexpr std::size_t longest_run = 65507;   // bytes of a run, as of a datagram
constexpr std::size_t errors_in_a_row = 16;  // of an error queue, before the next descriptor's turn
constexpr double errors_per_second = 1000;   // as net.ipv4.icmp_msgs_per_sec of Linux
constexpr double errors_at_once = 50;        // as net.ipv4.icmp_msgs_burst
constexpr std::uint16_t dns_port = 53;
constexpr Duration sweep_interval = std::chrono::seconds{5};

struct FlowKey {
  Endpoint source;
  Endpoint destination;
  bool operator==(const FlowKey&) const = default;
};

struct FlowKeyHash {
  std::size_t operator()(const FlowKey& key) const noexcept {
    const std::size_t first = std::hash<Endpoint>{}(key.source);
    return first ^ (std::hash<Endpoint>{}(key.destination) + 0x9e3779b9U + (first << 6) + (first >> 2));
  }
};

/// Headers of a client's datagram, for an error to quote.
struct Quotation {
  Quotation(const FlowKey& key, std::size_t size) {
    const std::size_t udp = std::min<std::size_t>(UdpHeader::size + size, 0xffff);
    const auto length = static_cast<std::uint16_t>(udp);
    if (key.source.address.is_v4()) {
      header = Ipv4Header::size;
      Ipv4Header{.dont_fragment = true,
                 .protocol = ip_protocol::udp,
                 .source = key.source.address.v4(),
                 .destination = key.destination.address.v4(),
                 .payload_length = std::min<std::uint16_t>(length, 0xffff - Ipv4Header::size)}
          .emit(bytes);
    } else {
      header = Ipv6Header::size;
      Ipv6Header{.next_header = ip_protocol::udp,
                 .source = key.source.address.v6(),
                 .destination = key.destination.address.v6(),
                 .payload_length = length}
          .emit(bytes);
    }
    store_be16(bytes, header, key.source.port);
    store_be16(bytes, header + 2, key.destination.port);
    store_be16(bytes, header + UdpHeader::length_offset, length);
    store_be16(bytes, header + UdpHeader::checksum_offset, 0);
  }
  Bytes get() const { return Bytes{bytes}.first(header + UdpHeader::size); }

  std::array<std::byte, Ipv6Header::size + UdpHeader::size> bytes{};
  std::size_t header = 0;
};

void set(int fd, int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); }

bool is_told_by_queue(int error) {
  return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EMSGSIZE;
}

}  // namespace

struct UdpRelay::State {
  State(UdpRelay& owner, Reactor& loop, UdpRelayOptions given)
      : relay{owner}, reactor{loop}, options{std::move(given)} {}

  Flow* flow_of(const Datagrams& run);
  int make(const FlowKey& key, const Endpoint& target);
  /// Ends a flow, whose memory goes in a turn of its own: a flow may end in a call of its own, by a write.
  void end(std::list<Flow>::iterator flow);
  void evict();
  void sweep();
  void pass_error(const FlowKey& key, std::size_t size, IcmpErrorKind kind, std::uint32_t mtu);

  UdpRelay& relay;
  Reactor& reactor;
  UdpRelayOptions options;
  FrameTransport* errors_to = nullptr;
  UdpRelayStatistics statistics;
  TokenBucket errors{errors_per_second, errors_at_once};
  std::list<Flow> flows;  // by the client's last datagram, the newest first
  std::unordered_map<FlowKey, std::list<Flow>::iterator, FlowKeyHash> places;
  std::unique_ptr<std::byte[]> buffer = std::make_unique_for_overwrite<std::byte[]>(buffer_size);
  std::list<Flow> ended;
  Reactor::Timer timer;
  Reactor::Timer clearing;
};

class UdpRelay::Flow final : public Watched {
 public:
  Flow(State& state, const FlowKey& key, UniqueFd socket, bool v4)
      : state_{state}, key_{key}, socket_{std::move(socket)}, v4_{v4} {
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

  void send(const Datagrams& run);
  /// Stops the watching, and closes the socket.
  void end() {
    if (std::exchange(ended_, true)) return;
    state_.reactor.remove(*this);
    socket_.reset();
  }
  const FlowKey& key() const { return key_; }
  bool is_over(TimePoint now) const {
    const bool answered_dns = key_.destination.port == dns_port && answered_;
    return now - used_ >= (answered_dns ? state_.options.idle_dns : state_.options.idle);
  }

 private:
  int send_once(Bytes bytes, std::size_t segment_size, std::uint8_t traffic_class);
  void send_parts(const Datagrams& run, std::size_t at_once);
  bool has_error();

  State& state_;
  FlowKey key_;
  UniqueFd socket_;
  bool v4_;  // the outer socket
  bool segments_ = true;
  bool answered_ = false;
  std::size_t last_size_ = 0;  // of the client's last datagram
  TimePoint used_{};
  bool ended_ = false;  // not in the table any more: a callback's caller may still be at work
};

/// 0, or an errno.
int UdpRelay::Flow::send_once(Bytes bytes, std::size_t segment_size, std::uint8_t traffic_class) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  SendControl control;
  if (segment_size != 0) control.add_segment_size(static_cast<std::uint16_t>(segment_size));
  if (traffic_class != 0) control.add_traffic_class(v4_, traffic_class);
  control.put(message);
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) >= 0) return 0;
  return errno;
}

void UdpRelay::Flow::send_parts(const Datagrams& run, std::size_t at_once) {
  const std::size_t step = run.segment_size * at_once;
  std::size_t at = 0;
  do {
    const Bytes part = run.bytes.subspan(at, std::min(step, run.bytes.size() - at));
    const bool several = part.size() > run.segment_size;
    last_size_ = std::min(run.segment_size, part.size());
    const std::size_t segment_size = several ? run.segment_size : 0;
    int error = send_once(part, segment_size, run.traffic_class);
    // An ICMP error to an earlier datagram is told by the next call, once: the second answer is this
    // datagram's.
    if (error != 0 && error != EAGAIN && error != EMSGSIZE && has_error())
      error = send_once(part, segment_size, run.traffic_class);
    const std::size_t count = several ? (part.size() + run.segment_size - 1) / run.segment_size : 1;
    if (error == 0) {
      state_.statistics.datagrams_out += count;
    } else if (several && error != EAGAIN) {
      segments_ = segments_ && !(error == EIO || error == EOPNOTSUPP || error == ENOPROTOOPT);
      send_parts({part, run.segment_size, run.from, run.to, run.to_group, run.traffic_class}, 1);
    } else {
      state_.statistics.datagrams_dropped += count;
      const bool told = error == EAGAIN || error == ENOBUFS || (is_told_by_queue(error) && has_error());
      if (!told) state_.pass_error(key_, last_size_, icmp_error_of(error), 0);
    }
    at += step;
  } while (at < run.bytes.size());
}

void UdpRelay::Flow::send(const Datagrams& run) {
  used_ = state_.reactor.now();
  const std::size_t segment_size = std::max<std::size_t>(run.segment_size, 1);
  send_parts(run, segments_ ? std::clamp<std::size_t>(longest_run / segment_size, 1, most_segments) : 1);
}

/// Passes the entries of the error queue on. False: the queue was empty.
bool UdpRelay::Flow::has_error() {
  bool found = false;
  for (std::size_t i = 0; i < errors_in_a_row; ++i) {
    sockaddr_storage receiver{};
    alignas(cmsghdr) std::array<std::byte, 512> control;
    iovec nothing{};
    msghdr message{};
    message.msg_name = &receiver;
    message.msg_namelen = sizeof receiver;
    message.msg_iov = &nothing;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(socket_.get(), &message, MSG_ERRQUEUE) < 0) break;
    const auto error = datagram_error(message, receiver);
    if (!error) continue;
    found = true;
    state_.pass_error(key_, last_size_, icmp_error_of(*error), error->mtu);
  }
  return found;
}

void UdpRelay::Flow::do_error() {
  has_error();
  // Without an entry for lack of memory, the error is taken from the socket: it would be reported for ever.
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
}

void UdpRelay::Flow::do_read() {
  const Cork cork{state_.reactor};
  const ReplyTo ticket{.to = key_.source, .from = key_.destination};
  for (std::size_t taken = 0; taken < burst;) {
    alignas(cmsghdr) std::array<std::byte, 128> control;
    iovec part{state_.buffer.get(), buffer_size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno != EAGAIN) has_error();  // the call took the error from the socket
      return;
    }
    answered_ = true;
    const Bytes bytes{state_.buffer.get(), static_cast<std::size_t>(got)};
    const std::size_t segment_size = received_control(message).segment_size;
    const Datagrams run{
        bytes, segment_size != 0 ? segment_size : std::max<std::size_t>(bytes.size(), 1), {}, {}};
    for (std::size_t i = 0; i < run.size(); ++i) {
      DatagramTransport* const transport = state_.relay.connected_transport();
      if (transport == nullptr) return;
      const WriteResult written = transport->reply(ticket, run[i].data);
      ++(written ? state_.statistics.datagrams_in : state_.statistics.datagrams_dropped);
      if (ended_) return;
    }
    taken += run.size();
  }
}

void UdpRelay::State::pass_error(const FlowKey& key, std::size_t size, IcmpErrorKind kind,
                                 std::uint32_t mtu) {
  const bool sent = errors_to != nullptr && errors.take(reactor.now()) &&
                    send_icmp_error(*errors_to, key.destination.address, key.source.address, kind,
                                    Quotation{key, size}.get(), mtu);
  ++(sent ? statistics.errors_passed : statistics.errors_suppressed);
}

void UdpRelay::State::end(std::list<Flow>::iterator flow) {
  places.erase(flow->key());
  flow->end();
  if (ended.empty()) clearing = reactor.call_later(Duration::zero(), [this] { ended.clear(); });
  ended.splice(ended.begin(), flows, flow);
}

void UdpRelay::State::evict() {
  end(std::prev(flows.end()));
  ++statistics.flows_evicted;
}

/// Makes the newest flow. 0, or an errno.
int UdpRelay::State::make(const FlowKey& key, const Endpoint& target) {
  const bool v4 = target.address.is_v4();
  const auto open = [&] {
    const int family = v4 ? AF_INET : AF_INET6;
    if (options.socket) return options.socket(family);
    return UniqueFd{::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  };
  UniqueFd socket = open();
  if (!socket && (errno == EMFILE || errno == ENFILE) && !flows.empty()) {
    evict();
    socket = open();
  }
  if (!socket) return errno != 0 ? errno : EIO;  // zero would be a flow
  set(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
  set(socket.get(), IPPROTO_UDP, UDP_GRO, 1);
  sockaddr_storage address;
  const socklen_t length = target.to_sockaddr(address);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return errno;
  if (flows.size() >= options.flows) evict();
  try {
    flows.emplace_front(*this, key, std::move(socket), v4);
  } catch (const Error& error) {  // the reactor cannot watch another descriptor
    return error.code().value();
  }
  places.emplace(key, flows.begin());
  ++statistics.flows;
  if (flows.size() == 1) timer = reactor.call_later(sweep_interval, [this] { sweep(); });
  return 0;
}

/// The flow of a run, the newest now; null: refused.
UdpRelay::Flow* UdpRelay::State::flow_of(const Datagrams& run) {
  const FlowKey key{{run.from.address, run.from.port}, {run.to.address, run.to.port}};
  if (const auto place = places.find(key); place != places.end()) {
    flows.splice(flows.begin(), flows, place->second);
    return &flows.front();
  }
  const bool is_ordinary = !run.to_group && key.source.port != 0 && key.destination.port != 0;
  int error = ECONNREFUSED;
  if (is_ordinary) {
    const auto target = options.target ? options.target(key.source, key.destination) : key.destination;
    if (target && (error = make(key, *target)) == 0) return &flows.front();
  }
  ++statistics.flows_refused;
  if (is_ordinary) pass_error(key, std::min(run.segment_size, run.bytes.size()), icmp_error_of(error), 0);
  return nullptr;
}

void UdpRelay::State::sweep() {
  const TimePoint now = reactor.now();
  for (auto flow = flows.begin(); flow != flows.end();)
    if (const auto present = flow++; present->is_over(now)) end(present);
  if (!flows.empty()) timer = reactor.call_later(sweep_interval, [this] { sweep(); });
}

UdpRelay::UdpRelay(Reactor& reactor, UdpRelayOptions options) {
  if (options.flows == 0) throw std::invalid_argument("flows must be at least 1");
  if (options.idle < std::chrono::minutes{2}) throw std::invalid_argument("idle must be at least 2 minutes");
  if (options.idle_dns < std::chrono::seconds{5})
    throw std::invalid_argument("idle_dns must be at least 5 seconds");
  state_ = std::make_unique<State>(*this, reactor, std::move(options));
}

UdpRelay::~UdpRelay() = default;

void UdpRelay::send_errors_to(FrameTransport* port) { state_->errors_to = port; }

void UdpRelay::stop_protocol() { end_flows(); }

void UdpRelay::datagram_received(const Datagram& datagram) {
  datagrams_received({datagram.data, std::max<std::size_t>(datagram.data.size(), 1), datagram.from,
                      datagram.to, datagram.to_group, datagram.traffic_class});
}

void UdpRelay::datagrams_received(const Datagrams& run) {
  if (Flow* const flow = state_->flow_of(run)) flow->send(run);
}

std::size_t UdpRelay::flows() const { return state_->flows.size(); }

void UdpRelay::end_flows() {
  while (!state_->flows.empty()) state_->end(state_->flows.begin());
  state_->timer.cancel();
}

const UdpRelayStatistics& UdpRelay::statistics() const { return state_->statistics; }

}  // namespace tunport
