#include "proxy_udp.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "tunport/base/error.hpp"

// The header of a datagram (RFC 1928 7):
//
//   +------+------+------+----------+----------+------+
//   | RSV  | FRAG | ATYP | address  |   port   | data |
//   |  2   |  1   |  1   | variable |    2     |      |
//   +------+------+------+----------+----------+------+

namespace tunport::tool {
namespace {

constexpr std::size_t fragment_at = 2;
constexpr std::size_t type_at = 3;
constexpr std::size_t address_at = 4;
constexpr unsigned type_v4 = 1;
constexpr unsigned type_name = 3;
constexpr unsigned type_v6 = 4;

constexpr std::size_t buffer_size = 65536;
constexpr int burst = 64;                 // datagrams, before the next descriptor's turn
constexpr std::size_t most_waiting = 16;  // datagrams of a flow
constexpr std::uint16_t dns_port = 53;
constexpr Duration sweep_interval = std::chrono::seconds{5};
constexpr Duration unsupported_time = std::chrono::seconds{30};

bool is_loopback(const IpAddress& address) {
  return address.is_v4() ? address.v4().is_loopback() : address == IpAddress{"::1"};
}

bool is_unspecified(const IpAddress& address) {
  return address.is_v4() ? address.v4().is_unspecified() : address.v6().is_unspecified();
}

bool is_group(const IpAddress& address) {
  return address.is_v4() ? address.v4().is_multicast() || address.v4().is_broadcast()
                         : address.v6().is_multicast();
}

}  // namespace

std::optional<ProxyDatagram> read_proxy_datagram(Bytes bytes) {
  if (bytes.size() <= address_at || load_u8(bytes, fragment_at) != 0) return std::nullopt;
  const unsigned type = load_u8(bytes, type_at);
  std::size_t size = 0;
  if (type == type_v4)
    size = Ipv4Address::size;
  else if (type == type_v6)
    size = Ipv6Address::size;
  else if (type == type_name)
    size = std::size_t{1} + load_u8(bytes, address_at);
  else
    return std::nullopt;
  if (bytes.size() < address_at + size + 2) return std::nullopt;
  ProxyDatagram datagram{.source = std::nullopt,
                         .port = load_be16(bytes, address_at + size),
                         .payload = bytes.subspan(address_at + size + 2)};
  if (type == type_v4) datagram.source = Ipv4Address::load(bytes, address_at);
  if (type == type_v6) datagram.source = Ipv6Address::load(bytes, address_at);
  return datagram;
}

std::string proxy_datagram_header(const Endpoint& destination, const std::string& name) {
  std::array<std::byte, address_at + Ipv6Address::size> head{};
  std::size_t size = address_at;
  const IpAddress& address = destination.address;
  if (!name.empty()) {
    store_u8(head, type_at, type_name);
    store_u8(head, size++, static_cast<std::uint8_t>(name.size()));
  } else if (address.is_v4()) {
    store_u8(head, type_at, type_v4);
    address.v4().store(head, size);
    size += Ipv4Address::size;
  } else {
    store_u8(head, type_at, type_v6);
    address.v6().store(head, size);
    size += Ipv6Address::size;
  }
  std::string header{as_text(Bytes{head}.first(size))};
  header += name;
  header += static_cast<char>(destination.port >> 8);
  header += static_cast<char>(destination.port & 0xff);
  return header;
}

std::optional<Endpoint> association_endpoint(const std::optional<Endpoint>& bound, const IpAddress& proxy) {
  if (!bound || bound->port == 0 || is_group(bound->address)) return std::nullopt;
  if (is_unspecified(bound->address)) return Endpoint{proxy, bound->port};
  if (is_loopback(bound->address) && !is_loopback(proxy)) return std::nullopt;
  return bound;
}

class ProxyUdp::Flow {
 public:
  Flow(ProxyUdp& owner, const Key& key, const std::string& name)
      : owner_{owner},
        key_{key},
        has_name_{!name.empty()},
        header_{proxy_datagram_header(key_.destination, name)} {}
  ~Flow() { close(); }
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  const Key& key() const { return key_; }
  /// Asks the proxy for the association.
  void start() {
    connecting_ = std::make_unique<ProxyConnection>(
        owner_.reactor_, owner_.proxy_, ProxyRequest{.associates = true},
        [this](const std::error_code& ec, UniqueFd control) { associated(ec, std::move(control)); });
  }
  void send(const Datagrams& run) {
    used_ = owner_.reactor_.now();
    for (std::size_t i = 0; i < run.size() && !is_over_; ++i) {
      if (socket_.descriptor)
        send_one(run[i].data);
      else
        keep(run[i].data);
    }
  }
  bool is_idle(TimePoint now) const {
    const bool answered_dns = key_.destination.port == dns_port && is_answered_;
    return now - used_ >= (answered_dns ? owner_.options_.idle_dns : owner_.options_.idle);
  }
  void close() {
    is_over_ = true;
    connecting_.reset();
    socket_.close();
    control_.close();
    for (const auto& datagram : kept_) owner_.waiting_ -= datagram.size();
    kept_.clear();
  }

 private:
  /// One of the two sockets.
  struct Socket final : Watched {
    Socket(Flow& of, void (Flow::*on_event)()) : flow{of}, event{on_event} {}
    int fileno() const override { return descriptor.get(); }
    bool reading() const override { return true; }
    bool writing() const override { return false; }
    void do_read() override { (flow.*event)(); }
    void do_write() override {}
    void do_error() override { (flow.*event)(); }
    void open(UniqueFd owned) {
      descriptor = std::move(owned);
      flow.owner_.reactor_.add(*this);
      is_watched = true;
    }
    void close() {
      if (std::exchange(is_watched, false)) flow.owner_.reactor_.remove(*this);
      descriptor.reset();
    }
    Flow& flow;
    void (Flow::*event)();
    UniqueFd descriptor = {};
    bool is_watched = false;
  };

  void associated(const std::error_code& ec, UniqueFd control);
  bool open(UniqueFd control);
  void refuse();
  void keep(Bytes data);
  void send_one(Bytes data);
  void receive();
  bool take(Bytes bytes);
  void look_at_control();

  ProxyUdp& owner_;
  Key key_;
  bool has_name_;
  std::string header_;
  std::unique_ptr<ProxyConnection> connecting_ = {};
  Socket control_{*this, &Flow::look_at_control};
  Socket socket_{*this, &Flow::receive};
  std::vector<std::vector<std::byte>> kept_ = {};
  TimePoint used_ = {};
  bool is_answered_ = false;
  bool is_over_ = false;
};

void ProxyUdp::Flow::associated(const std::error_code& ec, UniqueFd control) {
  if (!ec && open(std::move(control))) {
    const auto kept = std::move(kept_);
    kept_.clear();
    for (const auto& datagram : kept) {
      owner_.waiting_ -= datagram.size();
      if (!is_over_) send_one(datagram);
    }
    connecting_.reset();
    return;
  }
  if (ec && connecting_->handshake().is_unsupported()) owner_.unsupported_ = owner_.reactor_.now();
  refuse();
}

/// Connects the socket to where the proxy wants the datagrams.
bool ProxyUdp::Flow::open(UniqueFd control) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(control.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0) return false;
  const auto peer = Endpoint::from_sockaddr(storage);
  const auto to = peer ? association_endpoint(connecting_->handshake().bound(), peer->address) : std::nullopt;
  if (!to) return false;
  const int family = to->address.is_v6() ? AF_INET6 : AF_INET;
  UniqueFd socket{::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  length = to->to_sockaddr(storage);
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0)
    return false;
  try {
    control_.open(std::move(control));
    socket_.open(std::move(socket));
  } catch (const std::system_error&) {  // the reactor cannot watch another descriptor
    return false;
  }
  return true;
}

void ProxyUdp::Flow::refuse() {
  const auto kept = std::move(kept_);
  kept_.clear();
  for (const auto& datagram : kept) owner_.waiting_ -= datagram.size();
  const Key key = key_;
  ProxyUdp& owner = owner_;
  owner.end(*this);
  if (kept.empty()) return;
  // The client is told once.
  owner.statistics_.datagrams_dropped += kept.size() - 1;
  const std::size_t size = std::max<std::size_t>(kept.front().size(), 1);
  owner.options_.refuse(
      {.bytes = kept.front(), .segment_size = size, .from = key.source, .to = key.destination});
}

void ProxyUdp::Flow::keep(Bytes data) {
  if (kept_.size() >= most_waiting || owner_.waiting_ + data.size() > owner_.options_.waiting) {
    ++owner_.statistics_.datagrams_dropped;
    return;
  }
  kept_.emplace_back(data.begin(), data.end());
  owner_.waiting_ += data.size();
}

void ProxyUdp::Flow::send_one(Bytes data) {
  std::array<iovec, 2> parts{iovec{header_.data(), header_.size()},
                             iovec{const_cast<std::byte*>(data.data()), data.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const bool sent = ::sendmsg(socket_.descriptor.get(), &message, MSG_NOSIGNAL) >= 0;
  ++(sent ? owner_.statistics_.datagrams_out : owner_.statistics_.datagrams_dropped);
  // Nobody receives there any more.
  if (!sent && errno == ECONNREFUSED) owner_.end(*this);
}

void ProxyUdp::Flow::receive() {
  const Cork cork{owner_.reactor_};
  for (int i = 0; i < burst && !is_over_; ++i) {
    const ssize_t got = ::recv(socket_.descriptor.get(), owner_.buffer_.get(), buffer_size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno == ECONNREFUSED) owner_.end(*this);
      return;
    }
    const bool taken = take({owner_.buffer_.get(), static_cast<std::size_t>(got)});
    ++(taken ? owner_.statistics_.datagrams_in : owner_.statistics_.datagrams_dropped);
  }
}

bool ProxyUdp::Flow::take(Bytes bytes) {
  const auto datagram = read_proxy_datagram(bytes);
  if (!datagram || datagram->port != key_.destination.port) return false;
  if (!has_name_ && datagram->source != key_.destination.address) return false;
  is_answered_ = true;
  return owner_.options_.answer({.to = key_.source, .from = key_.destination}, datagram->payload);
}

/// The proxy says nothing more on the connection: what comes is its end, or thrown away.
void ProxyUdp::Flow::look_at_control() {
  std::array<std::byte, 256> buffer;
  const ssize_t got = ::recv(control_.descriptor.get(), buffer.data(), buffer.size(), 0);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) owner_.end(*this);
}

ProxyUdp::ProxyUdp(Reactor& reactor, Proxy& proxy, Options options)
    : reactor_{reactor},
      proxy_{proxy},
      options_{std::move(options)},
      buffer_{std::make_unique_for_overwrite<std::byte[]>(buffer_size)} {}

ProxyUdp::~ProxyUdp() { end_flows(); }

bool ProxyUdp::send(const Datagrams& run) {
  const auto place = places_.find({{run.from.address, run.from.port}, {run.to.address, run.to.port}});
  if (place == places_.end()) return false;
  flows_.splice(flows_.begin(), flows_, place->second);
  flows_.front().send(run);
  return true;
}

void ProxyUdp::begin(const Datagrams& run, const std::string& name) {
  if (unsupported_ && reactor_.now() - *unsupported_ < unsupported_time) return options_.refuse(run);
  unsupported_.reset();
  if (flows_.size() >= options_.flows) {
    end(flows_.back());
    ++statistics_.flows_evicted;
  }
  const Key key{{run.from.address, run.from.port}, {run.to.address, run.to.port}};
  flows_.emplace_front(*this, key, name);
  places_.emplace(key, flows_.begin());
  ++statistics_.flows;
  if (flows_.size() == 1) timer_ = reactor_.call_later(sweep_interval, [this] { sweep(); });
  flows_.front().start();
  flows_.front().send(run);
}

void ProxyUdp::end(Flow& flow) {
  const auto place = places_.find(flow.key());
  if (place == places_.end() || &*place->second != &flow) return;
  // The memory goes in a turn of its own: the flow may end in a call of its own.
  if (ended_.empty()) clearing_ = reactor_.call_later(Duration::zero(), [this] { ended_.clear(); });
  ended_.splice(ended_.begin(), flows_, place->second);
  places_.erase(place);
  ended_.front().close();
}

void ProxyUdp::sweep() {
  const TimePoint now = reactor_.now();
  for (auto flow = flows_.begin(); flow != flows_.end();)
    if (const auto present = flow++; present->is_idle(now)) end(*present);
  if (!flows_.empty()) timer_ = reactor_.call_later(sweep_interval, [this] { sweep(); });
}

void ProxyUdp::end_flows() {
  while (!flows_.empty()) end(flows_.front());
  timer_.cancel();
}

}  // namespace tunport::tool
