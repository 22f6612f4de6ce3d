#include "tunport/testing/fault_plan.hpp"

#include <array>
#include <cerrno>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tunport/base/error.hpp"

namespace tunport {
namespace {

constexpr std::array<std::string_view, system_calls> names{"open",
                                                           "access",
                                                           "ioctl",
                                                           "ioctl_value",
                                                           "read",
                                                           "readv",
                                                           "write",
                                                           "writev",
                                                           "get_flags",
                                                           "set_flags",
                                                           "socket",
                                                           "bind",
                                                           "connect",
                                                           "getsockname",
                                                           "getsockopt",
                                                           "setsockopt",
                                                           "recvmsg",
                                                           "sendmsg",
                                                           "recvmmsg",
                                                           "sendmmsg",
                                                           "list",
                                                           "find",
                                                           "set_up",
                                                           "set_mtu",
                                                           "set_mac",
                                                           "set_tx_queue_length",
                                                           "add_address",
                                                           "remove_address",
                                                           "addresses",
                                                           "add_route",
                                                           "remove_route",
                                                           "routes",
                                                           "move_to_namespace",
                                                           "remove",
                                                           "in_namespace_of",
                                                           "around",
                                                           "monitor",
                                                           "inside"};

using Errors = std::vector<std::error_code>;

Errors numbers(std::initializer_list<int> list) {
  Errors errors;
  // Of the system's category: a call's number is not translated on its way.
  for (const int number : list) errors.emplace_back(number, std::generic_category());
  return errors;
}

/// Of requests by netlink: any, and the call's own.
Errors by_netlink(std::initializer_list<std::error_code> own) {
  Errors errors{Errc::no_such_device, Errc::not_permitted, errno_code(EBUSY),  errno_code(EINVAL),
                errno_code(EMFILE),   errno_code(ENOBUFS), errno_code(ENOMEM), errno_code(EOPNOTSUPP),
                errno_code(EPROTO),   Errc::links_changing};
  errors.insert(errors.end(), own);
  return errors;
}

Errors make_errors(SystemCall call) {
  switch (call) {
    case SystemCall::open:
      return numbers({EACCES, EINTR, EISDIR, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM});
    case SystemCall::access:
      return numbers({EACCES, ENOENT, ENOSYS, EROFS});
    case SystemCall::ioctl:
      return numbers(
          {EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, ENFILE, ENODEV, ENOMEM, ENOTTY, EPERM});
    case SystemCall::ioctl_value:
      return numbers({EBADF, EBADFD, EINTR, EINVAL, ENOTTY, EPERM});
    case SystemCall::read:
    case SystemCall::readv:
      return numbers({EAGAIN, EBADF, EBADFD, EFAULT, EINTR, EINVAL, EIO, ENOMEM});
    case SystemCall::write:
    case SystemCall::writev:
      return numbers({EAGAIN, EBADF, EBADFD, EFAULT, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM});
    case SystemCall::get_flags:
    case SystemCall::set_flags:
      return numbers({EBADF, EINVAL, EPERM});
    case SystemCall::socket:
      return numbers({EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT});
    case SystemCall::bind:
      return numbers({EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EINVAL, ENODEV, ENOTSOCK});
    case SystemCall::connect:
      return numbers({EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED,
                      EHOSTUNREACH, EINTR, EINVAL, ENETUNREACH, EPERM});
    case SystemCall::getsockname:
      return numbers({EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK});
    case SystemCall::getsockopt:
      return numbers({EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK});
    case SystemCall::setsockopt:
      return numbers({EBADF, EDOM, EFAULT, EINVAL, ENODEV, ENOMEM, ENOPROTOOPT, ENOTSOCK, EPERM});
    case SystemCall::recvmsg:
    case SystemCall::recvmmsg:
      return numbers({EAGAIN, EBADF, ECONNREFUSED, EFAULT, EHOSTUNREACH, EINTR, EINVAL, EMSGSIZE, ENETUNREACH,
                      ENOMEM, ENOTSOCK});
    case SystemCall::sendmsg:
    case SystemCall::sendmmsg:
      return numbers({EACCES, EADDRNOTAVAIL, EAGAIN, EBADF, ECONNREFUSED, EHOSTUNREACH, EINTR, EINVAL, EIO,
                      EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENOMEM, EOPNOTSUPP, EPERM});
    case SystemCall::set_mtu:
      return by_netlink({Errc::mtu_out_of_range});
    case SystemCall::set_mac:
      return by_netlink({Errc::no_mac_address, Errc::invalid_mac_address});
    case SystemCall::add_address:
      return by_netlink({errno_code(EEXIST), Errc::mtu_too_small, errno_code(EACCES)});
    case SystemCall::remove_address:
      return by_netlink({errno_code(EADDRNOTAVAIL)});
    case SystemCall::add_route:
      return by_netlink({errno_code(EEXIST), errno_code(ENETDOWN), errno_code(ENETUNREACH),
                         errno_code(EHOSTUNREACH), Errc::invalid_route});
    case SystemCall::remove_route:
      return by_netlink({errno_code(ESRCH)});
    case SystemCall::move_to_namespace:
      return by_netlink({Errc::not_a_namespace, errno_code(EBADF), errno_code(EEXIST)});
    case SystemCall::in_namespace_of:
      return {Errc::no_such_namespace, Errc::not_a_namespace, Errc::namespace_denied, errno_code(EMFILE)};
    case SystemCall::around:
      return {Errc::namespace_denied, Errc::device_gone, errno_code(EMFILE), errno_code(ENOMEM)};
    case SystemCall::monitor:
      return by_netlink({errno_code(EACCES), Errc::namespace_denied});
    case SystemCall::inside:
      return {Errc::namespace_denied, errno_code(EMFILE), errno_code(ENOMEM)};
    default:
      return by_netlink({});
  }
}

}  // namespace

std::string_view to_string(SystemCall call) { return names.at(static_cast<std::size_t>(call)); }

struct FaultPlan::State {
  explicit State(System system) : io{system.io, *this}, links{system.links, *this} {}

  struct Fault {
    SystemCall call;
    std::uint64_t first;  // the count of the first failing call
    std::uint64_t end;    // behind the last failing call
    std::error_code error;
  };

  /// Counts a call. The error to fail with, if planned.
  std::optional<std::error_code> next(SystemCall call) {
    const std::uint64_t count = ++counts[static_cast<std::size_t>(call)];
    std::optional<std::error_code> found;
    for (const Fault& fault : faults)
      if (fault.call == call && count >= fault.first && count < fault.end) found = fault.error;
    if (!found && one_in != 0 && random() % one_in == 0) {
      const auto errors = errors_of(call);
      found = errors[random() % errors.size()];
    }
    if (found) ++failures;
    return found;
  }

  class Io final : public IoSystem {
   public:
    Io(IoSystem& inner, State& plan) : inner_{inner}, plan_{plan} {}
    int open(const char* path, int flags) override {
      return make(SystemCall::open, [&] { return inner_.open(path, flags); });
    }
    int access(const char* path, int mode) override {
      return make(SystemCall::access, [&] { return inner_.access(path, mode); });
    }
    bool holds(const std::string& interface) override { return inner_.holds(interface); }
    int ioctl(int fd, unsigned long request, void* argument) override {
      return make(SystemCall::ioctl, [&] { return inner_.ioctl(fd, request, argument); });
    }
    int ioctl_value(int fd, unsigned long request, unsigned long argument) override {
      return make(SystemCall::ioctl_value, [&] { return inner_.ioctl_value(fd, request, argument); });
    }
    ssize_t read(int fd, void* buffer, std::size_t size) override {
      return make(SystemCall::read, [&] { return inner_.read(fd, buffer, size); });
    }
    ssize_t readv(int fd, std::span<const iovec> parts) override {
      return make(SystemCall::readv, [&] { return inner_.readv(fd, parts); });
    }
    ssize_t write(int fd, const void* buffer, std::size_t size) override {
      return make(SystemCall::write, [&] { return inner_.write(fd, buffer, size); });
    }
    ssize_t writev(int fd, std::span<const iovec> parts) override {
      return make(SystemCall::writev, [&] { return inner_.writev(fd, parts); });
    }
    int get_flags(int fd) override {
      return make(SystemCall::get_flags, [&] { return inner_.get_flags(fd); });
    }
    int set_flags(int fd, int flags, bool close_on_exec) override {
      return make(SystemCall::set_flags, [&] { return inner_.set_flags(fd, flags, close_on_exec); });
    }
    int socket(int domain, int type, int protocol) override {
      return make(SystemCall::socket, [&] { return inner_.socket(domain, type, protocol); });
    }
    int bind(int fd, const sockaddr* address, socklen_t length) override {
      return make(SystemCall::bind, [&] { return inner_.bind(fd, address, length); });
    }
    int connect(int fd, const sockaddr* address, socklen_t length) override {
      return make(SystemCall::connect, [&] { return inner_.connect(fd, address, length); });
    }
    int getsockname(int fd, sockaddr* address, socklen_t* length) override {
      return make(SystemCall::getsockname, [&] { return inner_.getsockname(fd, address, length); });
    }
    int getsockopt(int fd, int level, int option, void* value, socklen_t* length) override {
      return make(SystemCall::getsockopt,
                  [&] { return inner_.getsockopt(fd, level, option, value, length); });
    }
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length) override {
      return make(SystemCall::setsockopt,
                  [&] { return inner_.setsockopt(fd, level, option, value, length); });
    }
    ssize_t recvmsg(int fd, msghdr* message, int flags) override {
      return make(SystemCall::recvmsg, [&] { return inner_.recvmsg(fd, message, flags); });
    }
    ssize_t sendmsg(int fd, const msghdr* message, int flags) override {
      return make(SystemCall::sendmsg, [&] { return inner_.sendmsg(fd, message, flags); });
    }
    int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
      return make(SystemCall::recvmmsg, [&] { return inner_.recvmmsg(fd, messages, flags); });
    }
    int sendmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
      return make(SystemCall::sendmmsg, [&] { return inner_.sendmmsg(fd, messages, flags); });
    }

   private:
    template <class Call>
    auto make(SystemCall call, Call made) -> decltype(made()) {
      if (const auto error = plan_.next(call)) return *error == Errc::device_gone ? -EBADFD : -error->value();
      return made();
    }

    IoSystem& inner_;
    State& plan_;
  };

  class Links final : public LinkSystem {
   public:
    Links(LinkSystem& inner, State& plan) : inner_{inner}, plan_{plan} {}
    Links(std::unique_ptr<LinkSystem> inner, State& plan)
        : own_{std::move(inner)}, inner_{*own_}, plan_{plan} {}

    std::vector<LinkInfo> list(std::error_code& ec) override {
      return make(SystemCall::list, ec, [&] { return inner_.list(ec); });
    }
    std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) override {
      return make(SystemCall::find, ec, [&] { return inner_.find(name, ec); });
    }
    void set_up(const std::string& name, bool up, std::error_code& ec) override {
      make(SystemCall::set_up, ec, [&] { inner_.set_up(name, up, ec); });
    }
    void set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) override {
      make(SystemCall::set_mtu, ec, [&] { inner_.set_mtu(name, mtu, ec); });
    }
    void set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) override {
      make(SystemCall::set_mac, ec, [&] { inner_.set_mac(name, mac, ec); });
    }
    void set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) override {
      make(SystemCall::set_tx_queue_length, ec, [&] { inner_.set_tx_queue_length(name, packets, ec); });
    }
    void add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override {
      make(SystemCall::add_address, ec, [&] { inner_.add_address(name, address, ec); });
    }
    void add_interface_address(const std::string& name, const InterfaceAddress& address,
                               std::error_code& ec) override {
      make(SystemCall::add_address, ec, [&] { inner_.add_interface_address(name, address, ec); });
    }
    void remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) override {
      make(SystemCall::remove_address, ec, [&] { inner_.remove_address(name, address, ec); });
    }
    std::vector<IpPrefix> addresses(const std::string& name, std::error_code& ec) override {
      return make(SystemCall::addresses, ec, [&] { return inner_.addresses(name, ec); });
    }
    std::vector<InterfaceAddress> interface_addresses(const std::string& name, std::error_code& ec) override {
      return make(SystemCall::addresses, ec, [&] { return inner_.interface_addresses(name, ec); });
    }
    void add_route(const Route& route, std::error_code& ec) override {
      make(SystemCall::add_route, ec, [&] { inner_.add_route(route, ec); });
    }
    void remove_route(const Route& route, std::error_code& ec) override {
      make(SystemCall::remove_route, ec, [&] { inner_.remove_route(route, ec); });
    }
    std::vector<Route> routes(const std::string& name, std::error_code& ec) override {
      return make(SystemCall::routes, ec, [&] { return inner_.routes(name, ec); });
    }
    void move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) override {
      make(SystemCall::move_to_namespace, ec, [&] { inner_.move_to_namespace(name, namespace_fd, ec); });
    }
    void remove(const std::string& name, std::error_code& ec) override {
      make(SystemCall::remove, ec, [&] { inner_.remove(name, ec); });
    }
    void in_namespace_of(const std::string& network_namespace, const std::function<void()>& inside,
                         std::error_code& ec) override {
      make(SystemCall::in_namespace_of, ec, [&] { inner_.in_namespace_of(network_namespace, inside, ec); });
    }
    std::unique_ptr<LinkSystem> around(IoSystem& calls, int fd, std::error_code& ec) override {
      return wrapped(make(SystemCall::around, ec, [&] { return inner_.around(calls, fd, ec); }));
    }
    std::unique_ptr<LinkSystem> only(int index, const std::string& name) override {
      return wrapped(inner_.only(index, name));
    }
    std::unique_ptr<LinkMonitor> monitor(const std::string& name, std::error_code& ec) override {
      return make(SystemCall::monitor, ec, [&] { return inner_.monitor(name, ec); });
    }
    void inside(const std::function<void()>& inside, std::error_code& ec) override {
      make(SystemCall::inside, ec, [&] { inner_.inside(inside, ec); });
    }

   private:
    template <class Call>
    auto make(SystemCall call, std::error_code& ec, Call made) -> decltype(made()) {
      if (const auto error = plan_.next(call)) {
        ec = *error;
        return decltype(made())();
      }
      return made();
    }
    std::unique_ptr<LinkSystem> wrapped(std::unique_ptr<LinkSystem> found) {
      if (!found) return nullptr;
      return std::make_unique<Links>(std::move(found), plan_);
    }

    std::unique_ptr<LinkSystem> own_;
    LinkSystem& inner_;
    State& plan_;
  };

  Io io;
  Links links;
  std::array<std::uint64_t, system_calls> counts{};
  std::uint64_t failures = 0;
  std::vector<Fault> faults;
  std::mt19937_64 random;
  std::uint32_t one_in = 0;
};

FaultPlan::FaultPlan(System inner) : state_{std::make_unique<State>(inner)} {}
FaultPlan::~FaultPlan() = default;

FaultPlan::operator System() { return {state_->io, state_->links}; }

void FaultPlan::fail(SystemCall call, std::uint64_t nth, std::error_code error, std::uint64_t times) {
  const std::uint64_t first = calls(call) + nth;
  state_->faults.push_back({call, first, first + times, error});
}

void FaultPlan::fail_randomly(std::uint64_t seed, std::uint32_t one_in) {
  state_->random.seed(seed);
  state_->one_in = one_in;
}

void FaultPlan::clear() {
  state_->counts = {};
  state_->failures = 0;
  state_->faults.clear();
  state_->one_in = 0;
}

std::uint64_t FaultPlan::calls(SystemCall call) const {
  return state_->counts[static_cast<std::size_t>(call)];
}

std::uint64_t FaultPlan::failures() const { return state_->failures; }

std::span<const std::error_code> FaultPlan::errors_of(SystemCall call) {
  static const auto table = [] {
    std::array<Errors, system_calls> made;
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = make_errors(static_cast<SystemCall>(i));
    return made;
  }();
  return table.at(static_cast<std::size_t>(call));
}

}  // namespace tunport
