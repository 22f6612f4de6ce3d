#include "kernel/sandbox.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"

namespace tunport::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

const bool started_as_root = ::geteuid() == 0;

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file{path};
  file << text << std::flush;
  return file.good();
}

/// Moves the thread into a new network namespace. Returns the error, or none.
std::error_code enter_fresh_namespace() {
  if (::unshare(CLONE_NEWNET) == 0) return {};
  if (started_as_root) return errno_code(errno);
  const std::string user = std::to_string(::geteuid());
  const std::string group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return Errc::no_user_namespaces;
  if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", "0 " + user + " 1") ||
      !write_file("/proc/self/gid_map", "0 " + group + " 1"))
    return Errc::no_user_namespaces;
  return {};
}

int exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

void KernelTest::SetUp() {
  if (const auto failed = enter_fresh_namespace())
    GTEST_SKIP() << "needs a network namespace: " << failed.message() << ". This test was not run.";
  if (const UniqueFd tun{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)}; !tun)
    GTEST_SKIP() << "needs /dev/net/tun: " << std::strerror(errno)
                 << ". Load the driver with 'modprobe tun', and 'chmod 0666 /dev/net/tun' for users. This "
                    "test was not run.";
  links.set_up("lo", true, ec);
  ASSERT_FALSE(ec) << ec.message();
}

bool is_real_root() {
  // False also in a container without the capability to make nodes.
  static const bool answer = [] {
    if (!started_as_root) return false;
    std::string probe = "/tmp/tunport-node-XXXXXX";
    if (::mkdtemp(probe.data()) == nullptr) return false;
    const std::string node = probe + "/tun";
    const bool made = ::mknod(node.c_str(), S_IFCHR | 0666, ::makedev(10, 200)) == 0;
    const UniqueFd fd{made ? ::open(node.c_str(), O_RDWR | O_CLOEXEC) : -1};
    std::filesystem::remove_all(probe);
    return static_cast<bool>(fd);
  }();
  return answer;
}

void disable_ipv6() {
  // A kernel without IPv6 has nothing to switch off.
  for (const char* which : {"default", "all"})
    write_file(std::string{"/proc/sys/net/ipv6/conf/"} + which + "/disable_ipv6", "1");
}

bool wait_until(const std::function<bool()>& holds, milliseconds longest) {
  const auto deadline = Clock::now() + longest;
  while (!holds()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds{2});
  }
  return true;
}

bool wait_readable(int fd, milliseconds longest) {
  pollfd watched{fd, POLLIN, 0};
  return ::poll(&watched, 1, static_cast<int>(longest.count())) == 1 && (watched.revents & POLLIN) != 0;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) ++count;
  return count;
}

CommandResult run(const std::vector<std::string>& arguments, milliseconds longest) {
  CommandResult result;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return result;
  const UniqueFd output{ends[0]};
  UniqueFd input{ends[1]};
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(input.get(), STDOUT_FILENO);
    ::dup2(input.get(), STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  if (child < 0) return result;
  input.reset();
  const auto deadline = Clock::now() + longest;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    pollfd watched{output.get(), POLLIN, 0};  // the end of the output wakes the poll too
    if (left.count() <= 0 || ::poll(&watched, 1, static_cast<int>(left.count())) == 0) {
      result.timed_out = true;
      break;
    }
    char buffer[4096];
    const ssize_t got = ::read(output.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    result.output.append(buffer, static_cast<std::size_t>(got));
  }
  if (result.timed_out) ::kill(child, SIGKILL);
  int status = 0;
  if (::waitpid(child, &status, 0) == child) result.status = exit_status(status);
  return result;
}

int as_user(uid_t id, const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(id, id, id) != 0 || ::setresuid(id, id, id) != 0)
      ::_exit(255);
    ::_exit(body());
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}

PublicCloneDevice::PublicCloneDevice() : directory_{"/tmp/tunport-node-XXXXXX"} {
  if (::mkdtemp(directory_.data()) == nullptr) ADD_FAILURE() << std::strerror(errno);
  path_ = directory_ + "/tun";
  if (::mknod(path_.c_str(), S_IFCHR | 0666, ::makedev(10, 200)) != 0 || ::chmod(path_.c_str(), 0666) != 0 ||
      ::chmod(directory_.c_str(), 0755) != 0)
    ADD_FAILURE() << std::strerror(errno);
}

PublicCloneDevice::~PublicCloneDevice() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

PacketSocket::PacketSocket(const std::string& interface, bool virtio_header)
    : fd_{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)},
      index_{static_cast<int>(::if_nametoindex(interface.c_str()))},
      header_{virtio_header ? 10U : 0U} {
  const int on = 1;
  if (virtio_header && ::setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0)
    ADD_FAILURE() << std::strerror(errno);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = index_;
  if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    ADD_FAILURE() << interface << ": " << std::strerror(errno);
  socklen_t length = sizeof address;
  ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
  is_ethernet_ = address.sll_hatype == 1;  // ARPHRD_ETHER
}

int PacketSocket::send(Bytes packet) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = index_;
  // On TUN no part of the packet names the protocol.
  const bool is_v6 = load_u8(packet, header_) >> 4 == 6;
  address.sll_protocol =
      is_ethernet_ ? htons(load_be16(packet, header_ + 12)) : htons(is_v6 ? ETH_P_IPV6 : ETH_P_IP);
  const auto sent = ::sendto(fd_.get(), packet.data(), packet.size(), 0,
                             reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return sent < 0 ? errno : 0;
}

std::optional<std::vector<std::byte>> PacketSocket::receive(milliseconds longest) {
  const auto deadline = Clock::now() + longest;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    if (left.count() < 0 || !wait_readable(fd_.get(), left)) return std::nullopt;
    std::vector<std::byte> packet(70'000);
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const auto got = ::recvfrom(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT,
                                reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
    packet.resize(static_cast<std::size_t>(got));
    return packet;
  }
}

std::vector<std::byte> make_frame(std::size_t size, std::uint8_t fill) {
  std::vector<std::byte> frame(size, std::byte{fill});
  std::memset(frame.data(), 0xff, 6);
  store_be32(frame, 6, 0x02000000);
  store_be16(frame, 10, 0x0001);
  store_be16(frame, 12, 0x88b5);
  return frame;
}

std::vector<std::byte> make_ipv4(std::size_t size, std::uint8_t fill) {
  std::vector<std::byte> packet(size, std::byte{fill});
  store_be32(packet, 0, 0x45000000U | static_cast<std::uint32_t>(size));
  store_be32(packet, 4, 0);
  store_be32(packet, 8, 64U << 24 | 253U << 16);
  store_be32(packet, 12, 0x0a000001);
  store_be32(packet, 16, 0x0a000002);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 20; i += 2) sum += load_be16(packet, i);
  sum = (sum & 0xffff) + (sum >> 16);
  store_be16(packet, 10, static_cast<std::uint16_t>(~(sum + (sum >> 16))));
  return packet;
}

}  // namespace tunport::sandbox
