#include "publisher.hpp"

#include <cerrno>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"

#include "failure.hpp"
#include "outer_connection.hpp"

namespace tunport::tool {
namespace {

constexpr int accepts_in_a_row = 64;
constexpr auto pause_without_descriptors = std::chrono::milliseconds{50};

std::string remedy_for(int error, const Endpoint& at) {
  switch (error) {
    case EADDRINUSE:
      return "; another program has the port: choose another one ('ss -lnp' tells)";
    case EADDRNOTAVAIL:
      return "; choose an address of this machine ('ip address' tells), or 0.0.0.0";
    case EACCES:
      return at.port < 1024 ? "; choose a port above 1023, or lower net.ipv4.ip_unprivileged_port_start" : "";
    default:
      return "";
  }
}

[[noreturn]] void fail(const Published& port, const std::error_code& ec) {
  throw Failure{status::failed,
                fmt::format("--publish {}{}: {}{}", to_string(port.outside), port.is_udp ? "/udp" : "",
                            ec.message(), remedy_for(ec.value(), port.outside))};
}

UniqueFd listen(const Published& port) {
  const bool v6 = port.outside.address.is_v6();
  UniqueFd fd{::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (v6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  sockaddr_storage storage{};
  const socklen_t length = port.outside.to_sockaddr(storage);
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0)
    fail(port, errno_code(errno));
  return fd;
}

/// Closes a connection by a reset, as a closed port.
void reset(const UniqueFd& socket) {
  constexpr linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

Endpoint inside_of(const Published& port) { return {IpAddress{"127.0.0.1"}, port.inside}; }

}  // namespace

class Publisher::Listener final : public Watched {
 public:
  Listener(Publisher& owner, const Published& port) : owner_{owner}, port_{port}, socket_{listen(port)} {
    owner_.reactor_.add(*this);
  }
  ~Listener() override { owner_.reactor_.remove(*this); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int fileno() const override { return socket_.get(); }
  bool reading() const override { return !is_resting_; }
  bool writing() const override { return false; }
  void do_write() override {}
  void do_error() override {}
  void do_read() override {
    for (int i = 0; i < accepts_in_a_row; ++i) {
      sockaddr_storage storage{};
      socklen_t length = sizeof storage;
      UniqueFd client{::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &length,
                                SOCK_NONBLOCK | SOCK_CLOEXEC)};
      if (client) {
        owner_.accepted(std::move(client), Endpoint::from_sockaddr(storage).value_or(Endpoint{}), port_);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        return rest();
      } else if (errno == EAGAIN) {
        return;
      }
    }
  }

 private:
  void rest() {
    is_resting_ = true;
    owner_.reactor_.update(*this);
    timer_ = owner_.reactor_.call_later(pause_without_descriptors, [this] {
      is_resting_ = false;
      owner_.reactor_.update(*this);
    });
  }

  Publisher& owner_;
  Published port_;
  UniqueFd socket_;
  bool is_resting_ = false;
  Reactor::Timer timer_;
};

/// The connection inside first, then the bytes.
class Publisher::Connection {
 public:
  Connection(Publisher& owner, UniqueFd client, const Endpoint& from, const Published& port)
      : owner_{owner},
        client_{std::move(client)},
        record_{.source = from,
                .destination = port.outside,
                .target = inside_of(port),
                .name = {},
                .begun = std::chrono::system_clock::now(),
                .end = {}} {}

  void start(std::list<Connection>::iterator place) {
    place_ = place;
    connecting_ = std::make_unique<OuterConnection>(
        owner_.reactor_, record_.target, owner_.inside_.make(AF_INET, SOCK_STREAM),
        [this](const std::error_code& ec, UniqueFd socket) { connected(ec, std::move(socket)); });
  }
  ConnectionRecord cut_off() {
    if (client_) reset(client_);
    return finished("cut off");
  }

 private:
  void connected(const std::error_code& ec, UniqueFd socket) {
    if (ec) {
      reset(client_);
      client_.reset();
      return end("connect: " + ec.message());
    }
    try {
      relay_ = std::make_unique<Relay>(
          owner_.reactor_, owner_.pipes_, std::move(client_), std::move(socket),
          RelayOptions{.progress = &progress_},
          [this](const std::error_code& failed, const RelayResult& result) {
            end(failed ? failed.message() : result.end == RelayEnd::closed ? "closed" : "reset");
          });
    } catch (const Error& error) {
      end(error.what());
    }
  }
  ConnectionRecord finished(std::string how) const {
    ConnectionRecord record = record_;
    record.bytes_in = progress_.a_to_b;
    record.bytes_out = progress_.b_to_a;
    record.end = std::move(how);
    return record;
  }
  void end(std::string how) {
    const ConnectionRecord record = finished(std::move(how));
    Publisher& owner = owner_;
    owner.connections_.erase(place_);  // destroys us
    owner.ended_(record);
  }

  Publisher& owner_;
  std::list<Connection>::iterator place_;
  UniqueFd client_;
  ConnectionRecord record_;
  std::unique_ptr<OuterConnection> connecting_;
  RelayResult progress_;
  std::unique_ptr<Relay> relay_;
};

Publisher::UdpService::UdpService(Reactor& reactor, InsideSockets& inside, const Published& published)
    : relay{reactor,
            {.target = [at = inside_of(published)](const Endpoint&,
                                                   const Endpoint&) { return std::optional{at}; },
             .socket = [&inside](int family) { return inside.make(family, SOCK_DGRAM); }}},
      port{reactor, published.outside, relay} {
  try {
    port.start_listening();
  } catch (const Error& error) {
    fail(published, error.code());
  }
}

Publisher::Publisher(Reactor& reactor, PipePool& pipes, InsideSockets& inside,
                     const std::vector<Published>& ports, Ended ended)
    : reactor_{reactor}, pipes_{pipes}, inside_{inside}, ended_{std::move(ended)} {
  for (const Published& port : ports) {
    if (port.is_udp)
      services_.push_back(std::make_unique<UdpService>(reactor_, inside_, port));
    else
      listeners_.push_back(std::make_unique<Listener>(*this, port));
  }
}

Publisher::~Publisher() {
  for (Connection& connection : connections_) ended_(connection.cut_off());
}

void Publisher::accepted(UniqueFd socket, const Endpoint& client, const Published& port) {
  const auto place = connections_.emplace(connections_.end(), *this, std::move(socket), client, port);
  place->start(place);
}

}  // namespace tunport::tool
