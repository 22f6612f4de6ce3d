#include "gateway.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "harness.hpp"
#include "iperf.hpp"
#include "talk.hpp"

namespace tunport::bench {
namespace {

constexpr Ipv4Address wire_address{0xc6336401};
constexpr double patience = 10;  // seconds

using Words = std::vector<std::string>;

/// The command of this build.
std::string tunport_command() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "tunport";
}

std::uint64_t inode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

/// The network namespace of a child of `parent` that has one of its own.
UniqueFd namespace_of_child(pid_t parent) {
  const std::uint64_t ours = inode_of("/proc/self/ns/net");
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const std::string folder = entry.path();
    if (folder.find_first_not_of("0123456789", std::string{"/proc/"}.size()) != std::string::npos) continue;
    std::ifstream file{folder + "/stat"};
    const std::string text{std::istreambuf_iterator{file}, {}};
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) continue;
    std::istringstream words{text.substr(name_end + 1)};
    char state = 0;
    pid_t its_parent = 0;
    words >> state >> its_parent;
    if (its_parent != parent || text.find("(cat)") == std::string::npos) continue;
    const std::uint64_t theirs = inode_of(folder + "/ns/net");
    if (theirs == 0 || theirs == ours) continue;
    return UniqueFd{::open((folder + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC)};
  }
  return {};
}

/// Lets every user open /dev/net/tun, in a mount namespace of the calling process.
void open_clone_device() {
  std::string folder = "/tmp/tunport-bench-XXXXXX";
  require(::mkdtemp(folder.data()) != nullptr, "no place for a device node");
  const std::string node = folder + "/tun";
  const bool done =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
      ::mknod(node.c_str(), S_IFCHR, ::makedev(10, 200)) == 0 && ::chmod(node.c_str(), 0666) == 0 &&
      ::mount(node.c_str(), "/dev/net/tun", nullptr, MS_BIND, nullptr) == 0;
  ::unlink(node.c_str());
  ::rmdir(folder.c_str());
  require(done, "no device node for an ordinary user");
}

bool is_real_root() {
  std::ifstream map{"/proc/self/uid_map"};
  std::uint32_t inside = 0;
  std::uint32_t outside = 0;
  std::uint32_t count = 0;
  map >> inside >> outside >> count;
  return ::geteuid() == 0 && count == UINT32_MAX;
}

/// The command of a gateway. Throws `NotHere` without the program.
Words command_of(Peer peer, int network_namespace) {
  Words words;
  if (peer == Peer::slirp4netns) {
    if (!has_command("slirp4netns")) throw NotHere{"slirp4netns is not there"};
    words = {"slirp4netns",
             "--configure",
             "--mtu=65520",
             "--netns-type=path",
             "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(network_namespace),
             "tap0"};
  } else if (peer == Peer::pasta) {
    if (!has_command("pasta")) throw NotHere{"pasta is not there (Debian's package passt)"};
    // pasta does not run as root, and leaves it in a way that keeps it from making namespaces.
    if (is_real_root()) words = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    for (const char* const word : {"pasta", "--config-net", "-f", "-q", "--", "cat"})
      words.emplace_back(word);
  } else {
    words = {tunport_command(), "gate", "tun:t0", "--sandbox", "--quiet", "--", "cat"};
    if (!std::filesystem::exists(words.front())) throw NotHere{words.front() + " is not built"};
  }
  return words;
}

/// Replaces the calling process by a command.
[[noreturn]] void become(const Words& words, int input, bool is_quiet) {
  const UniqueFd nowhere{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  ::dup2(input, STDIN_FILENO);
  ::dup2(nowhere.get(), STDOUT_FILENO);
  if (is_quiet) ::dup2(nowhere.get(), STDERR_FILENO);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  throw Error{errno_code(errno), words.front()};
}

}  // namespace

ServerNamespace::ServerNamespace() : namespace_{make_namespace()} {
  run_command({"ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1"}, STDERR_FILENO);
  LinuxLinks{}.move_to_namespace("wire1", namespace_.get());
  configure_interface("wire0", wire_address);
  inside(namespace_.get(), [] { configure_interface("wire1", server_address); });
  // pasta takes address and route of the interface with the default route. The way is not used.
  run_command({"ip", "route", "add", "default", "via", "198.51.100.254", "dev", "wire0"}, STDERR_FILENO);
}

ServerNamespace::~ServerNamespace() {
  std::error_code gone;
  LinuxLinks{}.remove("wire0", gone);
}

Gateway::Gateway(Peer peer) : ends_by_itself_{peer != Peer::slirp4netns} {
  if (peer == Peer::veth) {
    std::error_code ec;
    namespace_ = current_namespace(ec);
    if (ec) throw Error{ec, "this namespace"};
    return;
  }
  // Debian's pasta now and then waits for ever at its start.
  for (int tries = 3; !start(peer); --tries) {
    end();
    require(tries > 1, "the gateway has made no namespace");
  }
  const double deadline = now() + patience;
  while (!can_connect(namespace_.get(), server_address)) {
    require(now() < deadline, "the gateway leads nowhere");
    sleep_for(0.02);
  }
}

/// Starts the process. False without a namespace in time.
bool Gateway::start(Peer peer) {
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), O_CLOEXEC) == 0, "no pipe");
  const UniqueFd input{ends[0]};
  inside_stdin_ = UniqueFd{ends[1]};
  if (peer == Peer::slirp4netns) namespace_ = make_namespace();
  const Words words = command_of(peer, namespace_.get());
  process_.emplace(Core::both, [&](const auto& ready) {
    ::setpgid(0, 0);
    if (peer == Peer::pasta && is_real_root()) open_clone_device();
    ready();
    become(words, input.get(), peer != Peer::tunport);
  });
  process_->wait_ready();
  const double deadline = now() + patience / 3;
  while (!namespace_ && now() < deadline) {
    sleep_for(0.01);
    namespace_ = namespace_of_child(process_->pid());
  }
  return static_cast<bool>(namespace_);
}

Gateway::~Gateway() { end(); }

void Gateway::end() {
  inside_stdin_.reset();
  if (!process_) return;
  // slirp4netns knows no end.
  const pid_t group = process_->pid();
  const UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, group, 0))};
  pollfd wait{process.get(), POLLIN, 0};
  ::poll(&wait, 1, ends_by_itself_ && namespace_ ? 2000 : 0);
  ::kill(-group, SIGKILL);
  process_.reset();
}

double Gateway::cpu_time() const { return process_ ? process_->cpu_time() : 0; }

double Gateway::memory() const {
  if (!process_) return 0;
  std::ifstream file{"/proc/" + std::to_string(process_->pid()) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) * 1024 / 1e6;
  throw std::runtime_error{"the gateway has ended"};
}

}  // namespace tunport::bench
