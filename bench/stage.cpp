#include "stage.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "harness.hpp"

namespace tunport::bench {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error{errno, std::generic_category(), what}; }

void write_file(const char* path, const std::string& text) {
  const UniqueFd fd{::open(path, O_WRONLY | O_CLOEXEC)};
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail(path);
}

/// The first two cores allowed to the program, fixed at the first call.
cpu_set_t cores_of(Core core) {
  static const std::array<std::size_t, 2> cores = [] {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) fail("sched_getaffinity");
    std::array<std::size_t, 2> found{};
    std::size_t count = 0;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE && count < found.size(); ++cpu)
      if (CPU_ISSET(cpu, &set)) found.at(count++) = cpu;
    if (count < found.size())
      throw NotHere{"two cores are needed: one for what is measured, one for its peer"};
    return found;
  }();
  cpu_set_t set;
  CPU_ZERO(&set);
  if (core != Core::peer) CPU_SET(cores[0], &set);
  if (core != Core::measured) CPU_SET(cores[1], &set);
  return set;
}

/// Switches off IPv6 and forwarding: the kernel sends no packets unasked. The checks leave room for kernels
/// that refuse.
void prepare_namespace() {
  std::ofstream{"/proc/sys/net/ipv6/conf/default/disable_ipv6"} << "1\n";
  std::ofstream{"/proc/sys/net/ipv4/ip_forward"} << "0\n";
  std::error_code ec;
  LinuxLinks{}.set_up("lo", true, ec);
  if (ec) throw Error{ec, "lo"};
}

/// Replaces the process by a command. Returns only after a failure.
void exec(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
}

}  // namespace

void enter_namespace() {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWNET) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
      fail(
          "no network namespace: run it as root, or allow user namespaces (kernel.unprivileged_userns_clone, "
          "user.max_user_namespaces); unshare");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + uid + " 1");
    write_file("/proc/self/gid_map", "0 " + gid + " 1");
  }
  prepare_namespace();
}

UniqueFd make_namespace() {
  std::error_code ec;
  const UniqueFd home = current_namespace(ec);
  if (ec || ::unshare(CLONE_NEWNET) != 0) fail("no second network namespace");
  UniqueFd made = current_namespace(ec);
  prepare_namespace();
  if (ec || ::setns(home.get(), CLONE_NEWNET) != 0) fail("no way back from the second network namespace");
  return made;
}

void configure_interface(const char* name, Ipv4Address address) {
  LinuxLinks links;
  std::error_code ec;
  links.add_address(name, {address, 24}, ec);
  if (!ec) links.set_up(name, true, ec);
  if (ec) throw Error{ec, name};
}

void refuse_super_packets() {
  run_command({"ip", "link", "set", "dev", interface_name, "gso_max_segs", "1"}, STDOUT_FILENO);
}

LinkCounters link_counters() {
  std::ifstream file{"/proc/self/net/dev"};
  for (std::string line; std::getline(file, line);) {
    std::istringstream words{line};
    std::string name;
    std::array<std::uint64_t, 16> numbers{};
    if (!(words >> name) || name != std::string{interface_name} + ':') continue;
    for (std::uint64_t& number : numbers) words >> number;
    return {numbers[9], numbers[11]};
  }
  throw std::runtime_error{"the interface is not there"};
}

LinkCounters link_counters_after(std::uint64_t sent) {
  const double patience = now() + 3;
  LinkCounters link = link_counters();
  for (; link.read + link.dropped < sent && now() < patience; link = link_counters()) sleep_for(0.01);
  sleep_for(0.05);
  return link_counters();
}

std::uint64_t snmp_counter(const std::string& protocol, const std::string& field) {
  std::ifstream file{"/proc/self/net/snmp"};
  for (std::string names, values; std::getline(file, names) && std::getline(file, values);) {
    std::istringstream name{names};
    std::istringstream value{values};
    std::string word;
    std::string figure;
    name >> word;
    value >> figure;
    if (word != protocol + ':') continue;
    while (name >> word && value >> figure)
      if (word == field) return std::stoull(figure);
  }
  throw std::runtime_error{"the kernel has no counter " + protocol + ' ' + field};
}

void run_command(const std::vector<std::string>& words, int out) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent && ::dup2(out, STDOUT_FILENO) >= 0)
      exec(words);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) fail("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
    throw std::runtime_error{words.front() + " failed"};
}

bool has_command(const std::string& name) {
  const UniqueFd nowhere{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  try {
    run_command({name, "--version"}, nowhere.get());
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

Stage::Stage() : page_{nullptr}, stop_fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  void* const memory =
      ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!stop_fd_ || memory == MAP_FAILED) fail("shared memory");
  page_ = new (memory) Page{};
}

Stage::~Stage() { ::munmap(page_, sizeof(Page)); }

void Stage::stop_peer() const { std::atomic_ref{page_->stop}.store(1); }

void Stage::stop_measured() const {
  if (::eventfd_write(stop_fd_.get(), 1) != 0) fail("eventfd");
}

std::uint64_t Stage::packets() const {
  return std::atomic_ref{page_->tally.packets}.load(std::memory_order_relaxed);
}

Child::Child(Core core, const Body& body) {
  const cpu_set_t set = cores_of(core);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe");
  ready_.reset(ends[0]);
  UniqueFd ready{ends[1]};
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail("fork");
  if (pid_ > 0) return;
  // The child must not unwind the parent's stack, nor write the parent's buffers.
  int status = EXIT_FAILURE;
  try {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(EXIT_FAILURE);
    if (::sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity");
    body([&] {
      if (::write(ready.get(), "r", 1) != 1) fail("ready");
    });
    status = EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tunport_bench: %s\n", error.what());
  }
  ::_exit(status);
}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Child::wait_ready(std::chrono::milliseconds longest) const {
  pollfd wait{ready_.get(), POLLIN, 0};
  char byte = 0;
  require(::poll(&wait, 1, static_cast<int>(longest.count())) == 1 && ::read(ready_.get(), &byte, 1) == 1,
          "a process did not get ready");
}

void Child::join(std::chrono::milliseconds longest) {
  // The child's end closes its side of the pipe. Polling in intervals would wake a core.
  pollfd wait{ready_.get(), POLLIN, 0};
  char byte = 0;
  bool ended = false;
  while (!ended && ::poll(&wait, 1, static_cast<int>(longest.count())) == 1)
    ended = ::read(ready_.get(), &byte, 1) <= 0;
  require(ended, "a process did not come to its end");
  int status = 0;
  const pid_t pid = std::exchange(pid_, -1);
  require(::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS,
          "a process failed");
}

double Child::cpu_time() const {
  clockid_t clock{};
  timespec time{};
  require(::clock_getcpuclockid(pid_, &clock) == 0 && ::clock_gettime(clock, &time) == 0,
          "a process has ended");
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Rate observe(const Stage& stage, const Child& measured, double seconds) {
  constexpr double warm_up = 0.2;
  sleep_for(warm_up);
  const double start = now();
  const double cpu_start = measured.cpu_time();
  const std::uint64_t before = stage.packets();
  sleep_for(seconds);
  const std::uint64_t after = stage.packets();
  const double cpu_end = measured.cpu_time();
  const double end = now();
  const auto packets = static_cast<double>(after - before);
  return {packets / (end - start), (cpu_end - cpu_start) / packets};
}

void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>{seconds}); }

double now() {
  return std::chrono::duration<double>{std::chrono::steady_clock::now().time_since_epoch()}.count();
}

void require(bool so, const char* what) {
  if (!so) throw std::runtime_error{what};
}

}  // namespace tunport::bench
