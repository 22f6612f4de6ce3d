#include "gate_sandbox.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/gate/gate.hpp"

#include "failure.hpp"
#include "sandbox.hpp"

namespace tunport::tool {
namespace {

constexpr std::size_t most_descriptors = 8;

/// What the preparing process says, with descriptors beside.
struct Prepared {
  bool ok = false;
  bool has_users = false;
  std::array<char, 1000> text{};  // a note, or the failure
  void say(const std::string& line) { text[line.copy(text.data(), text.size() - 1)] = '\0'; }
};

std::string why(int error) { return errno_code(error).message(); }

/// Binds a resolv.conf of ours over the present one. Returns what is missing, if anything.
std::string bind_resolv_conf(const std::vector<IpAddress>& servers) {
  std::string text = "# made by tunport gate\n";
  for (const IpAddress& server : servers) text += "nameserver " + to_string(server) + '\n';
  char path[] = "/tmp/tunport-resolv.XXXXXX";
  const UniqueFd file{::mkostemp(path, O_CLOEXEC)};
  if (!file) return std::string{"no file for it in /tmp: "} + std::strerror(errno);
  ::fchmod(file.get(), 0644);
  int error = 0;
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::mount(path, "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0)
    error = errno;
  ::unlink(path);  // the mount keeps the file
  return error == 0 ? "" : std::strerror(error);
}

/// Everything inside. Returns the descriptors: the device, the namespaces, the listeners.
std::vector<UniqueFd> prepare(const GatePlan& plan, Prepared& prepared) {
  const Sandbox sandbox = enter_sandbox();
  prepared.has_users = sandbox.has_users;
  std::string note = sandbox.note;
  // A private mount namespace, also where the sysfs was refused.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    throw Failure{status::failed, "--sandbox: no mount namespace: " + why(errno)};
  if (!plan.nameservers.empty())
    if (const std::string missing = bind_resolv_conf(plan.nameservers); !missing.empty() && note.empty())
      note = "--sandbox: /etc/resolv.conf is the one outside still (" + missing + "); names may not be found";
  prepared.say(note);

  LinuxLinks links;
  for (const IpAddress& address : plan.listen) {
    const InterfaceAddress own{.prefix = {address, address.bits()}, .flags = 0x02};  // IFA_F_NODAD
    std::error_code ec;
    links.add_interface_address("lo", own, ec);
    if (ec) throw Error{ec, "lo: address " + to_string(address)};
  }
  PortOptions options = plan.port.options();
  options.device.offload = options.offload;
  Device device = Device::open(DeviceKind::tun, plan.port.name, options.device);
  const Link link = device.link();
  const InterfaceOptions& wanted = plan.port.interface;
  if (wanted.mtu) link.set_mtu(*wanted.mtu);
  if (wanted.tx_queue_length) link.set_tx_queue_length(*wanted.tx_queue_length);
  for (const IpPrefix& address : wanted.addresses) {
    InterfaceAddress own{.prefix = address, .flags = address.address.is_v6() ? 0x02U : 0U};
    std::error_code ec;
    link.add_interface_address(own, ec);
    if (ec) throw Error{ec, device.name() + ": address " + to_string(address)};
  }
  link.set_up(true);
  for (Route route : wanted.routes) {
    route.interface = device.name();
    links.add_route(route);
  }
  std::vector<UniqueFd> descriptors;
  const std::string name = device.name();
  descriptors.push_back(device.release());
  for (const char* const kind : {"user", "mnt", "net"}) {
    const std::string path = std::string{"/proc/self/ns/"} + kind;
    descriptors.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!descriptors.back()) throw Failure{status::failed, "--sandbox: " + path + ": " + why(errno)};
  }
  for (const IpAddress& address : plan.listen) descriptors.push_back(Gate::listen(name, address));
  return descriptors;
}

void send(int socket, const Prepared& prepared, const std::vector<UniqueFd>& descriptors) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(most_descriptors * sizeof(int))> control{};
  iovec part{const_cast<Prepared*>(&prepared), sizeof prepared};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    auto* at = reinterpret_cast<int*>(CMSG_DATA(header));
    for (const UniqueFd& descriptor : descriptors) *at++ = descriptor.get();
  }
  (void)!::sendmsg(socket, &message, MSG_NOSIGNAL);
}

std::vector<UniqueFd> receive(int socket, Prepared& prepared) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(most_descriptors * sizeof(int))> control{};
  iovec part{&prepared, sizeof prepared};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  std::vector<UniqueFd> descriptors;
  if (got != static_cast<ssize_t>(sizeof prepared)) {
    prepared.ok = false;
    prepared.say("--sandbox: the process that prepared it has died");
    return descriptors;
  }
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return descriptors;
  const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  const auto* const fds = reinterpret_cast<const int*>(CMSG_DATA(header));
  descriptors.reserve(count);
  for (std::size_t i = 0; i < count; ++i) descriptors.emplace_back(fds[i]);
  return descriptors;
}

}  // namespace

GateSandbox GateSandbox::make(const GatePlan& plan) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw Failure{status::failed, "--sandbox: no socket: " + why(errno)};
  const UniqueFd ours{ends[0]};
  UniqueFd theirs{ends[1]};
  const pid_t pid = ::fork();
  if (pid < 0) throw Failure{status::failed, "--sandbox: no process: " + why(errno)};
  if (pid == 0) {
    Prepared prepared;
    std::vector<UniqueFd> descriptors;
    try {
      descriptors = prepare(plan, prepared);
      prepared.ok = true;
    } catch (const std::exception& error) {
      prepared.say(error.what());
    }
    send(theirs.get(), prepared, descriptors);
    ::_exit(0);
  }
  theirs.reset();
  Prepared prepared;
  std::vector<UniqueFd> descriptors = receive(ours.get(), prepared);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  constexpr std::size_t before_listeners = 4;
  if (!prepared.ok || descriptors.size() != before_listeners + plan.listen.size())
    throw Failure{status::failed, prepared.text.data()};
  GateSandbox sandbox;
  sandbox.note = prepared.text.data();
  // The namespace of the device cannot be asked from outside: a new device of ours has no packet information.
  sandbox.device =
      Device::adopt(std::move(descriptors[0]),
                    {.offload = plan.port.offload, .packet_information = false, .netlink = false});
  if (prepared.has_users) sandbox.users = std::move(descriptors[1]);
  sandbox.mounts = std::move(descriptors[2]);
  sandbox.network = std::move(descriptors[3]);
  for (std::size_t i = before_listeners; i < descriptors.size(); ++i)
    sandbox.listeners.push_back(std::move(descriptors[i]));
  return sandbox;
}

int GateSandbox::enter() const noexcept {
  // A process that joins a mount namespace is put at its root.
  std::array<char, PATH_MAX> directory;
  const bool has_directory = ::getcwd(directory.data(), directory.size()) != nullptr;
  if (users && ::setns(users.get(), CLONE_NEWUSER) != 0) return errno;
  if (::setns(mounts.get(), CLONE_NEWNS) != 0 || ::setns(network.get(), CLONE_NEWNET) != 0) return errno;
  if (has_directory && ::chdir(directory.data()) != 0) return errno;
  return 0;
}

}  // namespace tunport::tool
