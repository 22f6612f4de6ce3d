#include <cerrno>
#include <chrono>
#include <utility>

#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/gate/gate_listener_internal.hpp"

namespace tunport {
namespace {

constexpr int backlog = 4096;         // the kernel takes the least of this and net.core.somaxconn
constexpr int accepts_in_a_row = 64;  // then other descriptors have their turn
constexpr int seconds_until_keepalive = 3600;
constexpr auto pause_without_descriptors = std::chrono::milliseconds{50};

bool set(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/// Has the kernel drop what did not come out of the interface. A local client of an address of the interface
/// itself passes the binding to the device: the kernel takes the address's interface for the packet's.
bool accept_from_only(int fd, const std::string& interface) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(SKF_AD_OFF + SKF_AD_IFINDEX)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, index, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{.len = 4, .filter = code};
  return index != 0 && ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

}  // namespace

UniqueFd GateListener::open(const std::string& interface, const IpAddress& address, std::error_code& ec) {
  ec.clear();
  const int family = address.is_v6() ? AF_INET6 : AF_INET;
  UniqueFd fd{::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  sockaddr_storage storage{};
  const socklen_t length = Endpoint{address, 0}.to_sockaddr(storage);
  // FREEBIND: an IPv6 address that is tentative still may be bound to. Accepted sockets inherit the
  // keepalive.
  const bool done = fd &&
                    ::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                                 static_cast<socklen_t>(interface.size())) == 0 &&
                    accept_from_only(fd.get(), interface) &&
                    (family == AF_INET || set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
                    set(fd.get(), IPPROTO_IP, IP_FREEBIND, 1) && set(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1) &&
                    set(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, seconds_until_keepalive) &&
                    ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0 &&
                    ::listen(fd.get(), backlog) == 0;
  if (!done) {
    ec = errno_code(errno);
    fd.reset();
  }
  return fd;
}

GateListener::GateListener(Reactor& reactor, UniqueFd socket, Accepted accepted)
    : reactor_{reactor}, socket_{std::move(socket)}, accepted_{std::move(accepted)} {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0)
    throw Error{errno_code(errno), "the gate's listener"};
  endpoint_ = Endpoint::from_sockaddr(storage).value_or(Endpoint{});
  reactor_.add(*this);
}

GateListener::~GateListener() { reactor_.remove(*this); }

void GateListener::do_read() {
  const Lifeline::Watch watch{lifeline_};
  for (int i = 0; i < accepts_in_a_row; ++i) {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    UniqueFd socket{::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &length,
                              SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!socket) {
      const int error = errno;
      if (error == EAGAIN) return;
      if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        // The connection stays in the kernel's queue, and the descriptor readable.
        log(LogLevel::warning, "gate", "cannot accept a connection: " + errno_code(error).message());
        reading_ = false;
        reactor_.update(*this);
        pause_ = reactor_.call_later(pause_without_descriptors, [this] {
          reading_ = true;
          reactor_.update(*this);
        });
        return;
      }
      continue;  // an error of the connection itself (accept(2))
    }
    if (const auto peer = Endpoint::from_sockaddr(storage)) accepted_(std::move(socket), *peer);
    if (!watch.alive()) return;
  }
}

}  // namespace tunport
