#include "command/command.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

std::string content(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

bool write_file(const std::string& name, const std::string& text) {
  std::ofstream file{name};
  file << text << std::flush;
  return file.good();
}

/// In the child: waits until its parent has mapped all users into its new user namespace, then forbids
/// further namespaces of a kind.
bool forbid_namespaces(const std::string& kind, int ready, int mapped) {
  char byte = 0;
  return ::unshare(CLONE_NEWUSER) == 0 && ::write(ready, &byte, 1) == 1 && ::read(mapped, &byte, 1) == 1 &&
         write_file("/proc/sys/user/max_" + kind + "_namespaces", "0");
}

/// What the tests' own parent ignores or blocks is not to be seen in their results.
void set_signals(const Circumstances& how) {
  for (int signal = 1; signal <= SIGRTMAX; ++signal) ::signal(signal, SIG_DFL);
  for (const int signal : how.ignored) ::signal(signal, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// The tests themselves may be run by sudo.
void set_sudo(uid_t user) {
  ::unsetenv("SUDO_UID");
  ::unsetenv("SUDO_GID");
  if (user == 0) return;
  ::setenv("SUDO_UID", std::to_string(user).c_str(), 1);
  ::setenv("SUDO_GID", std::to_string(user + 1).c_str(), 1);
}

bool arrange(const Circumstances& how) {
  if (!how.clone_device.empty() || how.no_driver || how.mounts) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return false;
    if (how.no_driver && ::mount("none", "/dev/net", "tmpfs", 0, nullptr) != 0) return false;
    if (!how.clone_device.empty() &&
        ::mount(how.clone_device.c_str(), "/dev/net/tun", nullptr, MS_BIND, nullptr) != 0)
      return false;
    if (how.mounts && !how.mounts()) return false;
  }
  const uid_t id = how.user;
  return id == 0 ||
         (::setgroups(0, nullptr) == 0 && ::setresgid(id, id, id) == 0 && ::setresuid(id, id, id) == 0);
}

}  // namespace

Running::Running(const Words& arguments, const Circumstances& how)
    : out_{how.output.empty() ? ::memfd_create("out", MFD_CLOEXEC) : -1},
      err_{::memfd_create("err", MFD_CLOEXEC)} {
  // By its descriptor: another user may not reach its folder.
  const UniqueFd program{::open(how.program.c_str(), O_RDONLY | O_CLOEXEC)};
  std::vector<char*> argv{const_cast<char*>(how.program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ready[2];
  int mapped[2];
  if (!program || ::pipe2(ready, O_CLOEXEC) != 0 || ::pipe2(mapped, O_CLOEXEC) != 0) {
    ADD_FAILURE() << how.program << " cannot be run";
    return;
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(out_ ? out_.get() : ::open(how.output.c_str(), O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
    ::dup2(err_.get(), STDERR_FILENO);
    set_signals(how);
    set_sudo(how.sudo);
    if ((how.no_namespaces.empty() || forbid_namespaces(how.no_namespaces, ready[1], mapped[0])) &&
        arrange(how))
      ::fexecve(program.get(), argv.data(), environ);
    ::perror("the test could not run the command");
    ::_exit(99);
  }
  if (!how.no_namespaces.empty()) {
    char byte = 0;
    const std::string process = "/proc/" + std::to_string(pid_);
    ::close(ready[1]);
    ready[1] = -1;
    const bool done = ::read(ready[0], &byte, 1) == 1 && write_file(process + "/uid_map", "0 0 65535") &&
                      write_file(process + "/gid_map", "0 0 65535") && ::write(mapped[1], &byte, 1) == 1;
    EXPECT_TRUE(done) << "no user namespace to forbid others in";
  }
  for (const int fd : {ready[0], ready[1], mapped[0], mapped[1]})
    if (fd >= 0) ::close(fd);
}

Running::~Running() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Running::send(int signal) const { ::kill(pid_, signal); }
std::string Running::out() const { return out_ ? content(out_.get()) : ""; }
std::string Running::err() const { return content(err_.get()); }

bool Running::has_said(const std::string& text) const {
  return sandbox::wait_until([&] { return (out() + err()).find(text) != std::string::npos; });
}

Finished Running::wait(std::chrono::milliseconds longest) {
  Finished finished;
  int status = 0;
  if (!sandbox::wait_until([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, longest)) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ADD_FAILURE() << "still running after " << longest.count() << " ms";
  } else {
    finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  pid_ = -1;
  finished.out = out();
  finished.err = err();
  return finished;
}

Finished run(const Words& arguments, const Circumstances& circumstances) {
  return Running{arguments, circumstances}.wait();
}

Words host(const std::string& port, const Words& options, const Words& command) {
  Words words{"host", port, "--interface-address", "10.77.0.1/24", "--host-address", "10.77.0.2"};
  words.insert(words.end(), options.begin(), options.end());
  if (!command.empty()) words.emplace_back("--");
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

std::string path() { return TUNPORT_COMMAND; }

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);) result.push_back(line);
  return result;
}

}  // namespace tunport::command
