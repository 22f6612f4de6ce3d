/// The command as a part of something larger: a device from somebody else, a network namespace, a service
/// manager, a collector of metrics.

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tunport/device/device.hpp"

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class CommandService : public sandbox::KernelTest {
 protected:
  void TearDown() override {
    ::unsetenv("NOTIFY_SOCKET");
    if (!folder_.empty()) sandbox::run({"rm", "-r", folder_});
  }
  /// A folder of the test's own.
  const std::string& folder() {
    if (folder_.empty()) {
      char name[] = "/tmp/tunport-service-XXXXXX";
      folder_ = ::mkdtemp(name);
    }
    return folder_;
  }

 private:
  std::string folder_;
};

/// A duplicate that a child inherits.
UniqueFd inheritable(int fd) { return UniqueFd{::fcntl(fd, F_DUPFD, 20)}; }

TEST_F(CommandService, TakesADeviceThatIsOpenAlready) {
  const Device device = Device::open(DeviceKind::tap, "tp0");
  const UniqueFd handed = inheritable(device.fileno());
  const std::string number = std::to_string(handed.get());
  auto finished =
      run(host("tap:tp0", {"--fd", number, "--quiet"}, {"ping", "-c", "1", "-W", "5", "10.77.0.2"}));
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(links.find("tp0", ec)) << "not ours to delete";
  EXPECT_FALSE(links.find("tp0", ec)->up) << "put back";
  finished = run(host("tap:tp0,fd=" + number, {"--quiet"}, {"ping", "-c", "1", "-W", "5", "10.77.0.2"}));
  EXPECT_EQ(finished.status, 0) << finished.err;
  finished = run(host("tun:tp0", {"--fd", number}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("the device is tap:tp0; write tap:tp0 as PORT"));
}

TEST_F(CommandService, ADescriptorOfSomethingElseIsALine) {
  const UniqueFd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  const UniqueFd handed = inheritable(null.get());
  for (const auto& [number, status, said] : std::vector<std::tuple<std::string, int, std::string>>{
           {std::to_string(handed.get()), 1, "--fd '" + std::to_string(handed.get()) + "': "},
           {"19", 1, "no descriptor is open there"},
           {"3", 1, "no descriptor is open there"},
           {"1", 2, "a number from 3 on"},
           {"x", 2, "--fd"}}) {
    const auto finished = run(host("tap:tp0", {"--fd", number}));
    EXPECT_EQ(finished.status, status) << number;
    EXPECT_THAT(finished.err, HasSubstr(said));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
  for (const auto& [port, fd, said] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"tap:tp0,mode=create", "9", "leave mode=, netns= and --sandbox out"},
           {"tap:tp0,napi", "9", "leave napi, backpressure and vnethdr= out"},
           {"tap:tp0,fd=8", "9", "the port has fd=8; leave one of them out"}}) {
    const auto finished = run(host(port, {"--fd", fd}));
    EXPECT_EQ(finished.status, 2);
    EXPECT_THAT(finished.err, HasSubstr(said));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
}

TEST_F(CommandService, WorksInANetworkNamespaceByName) {
  if (!sandbox::is_real_root())
    GTEST_SKIP() << "mounts a /run of its own, so it needs root. This test was not run.";
  const Circumstances circumstances{.mounts = [] {
    return ::mount("none", "/run", "tmpfs", 0, nullptr) == 0 &&
           sandbox::run({"ip", "netns", "add", "blue"}).status == 0;
  }};
  const auto finished =
      run(host("tap:tp0,netns=blue", {"--quiet"},
               {"sh", "-c",
                "! ip link show tp0 2>/dev/null && ip netns exec blue ping -c 1 -W 5 -s 9000 10.77.0.2"}),
          circumstances);
  EXPECT_EQ(finished.status, 0) << finished.out << finished.err;
  const auto missing = run(host("tap:tp0,netns=green", {"--quiet"}), circumstances);
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("there is no such network namespace"));
  EXPECT_EQ(run(host("tap:tp0,netns=../blue", {"--quiet"}), circumstances).status, 2);
}

TEST_F(CommandService, TellsAServiceManagerThatItIsUp) {
  for (const bool is_abstract : {false, true}) {
    const std::string name = is_abstract ? "@tunport-" + std::to_string(::getpid()) : folder() + "/notify";
    const UniqueFd manager{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    if (is_abstract) address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    ASSERT_EQ(::bind(manager.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    const auto finished =
        run(host("tap:tp0", {"--quiet"}, {"sh", "-c", "echo \"[$NOTIFY_SOCKET]\"; ip link show tp0 up"}));
    EXPECT_THAT(finished.out, AllOf(HasSubstr("[]"), HasSubstr("tp0"))) << "COMMAND does not speak for us";
    std::vector<std::string> said;
    char text[100];
    for (ssize_t got = 0; (got = ::recv(manager.get(), text, sizeof text, MSG_DONTWAIT)) > 0;)
      said.emplace_back(text, static_cast<std::size_t>(got));
    EXPECT_THAT(said, testing::ElementsAre("READY=1", "STOPPING=1")) << name;
  }
  for (const char* wrong : {"", "relative", "/no/such/socket"}) {
    ::setenv("NOTIFY_SOCKET", wrong, 1);
    EXPECT_EQ(run(host("tap:tp0", {"--quiet"}, {"true"})).status, 0) << wrong;
  }
}

TEST_F(CommandService, KeepsItsCountersInAFile) {
  const std::string file = folder() + "/tunport.prom";
  Running running{host("tap:tp0", {"--metrics", file})};
  ASSERT_TRUE(running.has_said("is up"));
  const auto content = [&] {
    std::ifstream stream{file};
    return std::string{std::istreambuf_iterator<char>{stream}, {}};
  };
  EXPECT_THAT(content(),
              HasSubstr("tunport_host_answers_total{port=\"tap:tp0\",kind=\"icmp_echo_reply\"} 0\n"));
  for (const char* answer : {"parameter_problem", "reassembly_timeout", "udp_echo"})
    EXPECT_THAT(content(), HasSubstr(std::string{"kind=\""} + answer + "\"} 0\n"));
  for (const char* event : {"duplicate_addresses", "path_mtu_updates", "reassembled_datagrams"})
    EXPECT_THAT(content(),
                HasSubstr(std::string{"\ntunport_host_"} + event + "_total{port=\"tap:tp0\"} 0\n"));
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status, 0);
  const auto is_told = [&](int replies) {
    const std::string sample = "kind=\"icmp_echo_reply\"} " + std::to_string(replies) + "\n";
    return sandbox::wait_until([&] { return content().find(sample) != std::string::npos; });
  };
  EXPECT_TRUE(is_told(1)) << "after some seconds";
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status, 0);
  running.send(SIGINT);
  EXPECT_EQ(running.wait().status, 0);
  EXPECT_TRUE(is_told(2)) << "at the end";
  EXPECT_THAT(content(), HasSubstr("tunport_received_packets_total{port=\"tap:tp0\"}"));
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0644U) << "the collector is another user";
  EXPECT_EQ(sandbox::run({"ls", folder()}).output, "tunport.prom\n") << "nothing is left";
}

TEST_F(CommandService, AFileThatCannotBeMadeIsALineBeforeItIsUp) {
  const auto finished = run(host("tap:tp0", {"--metrics", "/no/such/folder/x.prom"}, {"true"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("--metrics '/no/such/folder/x.prom': "));
  EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  EXPECT_THAT(finished.out, Not(HasSubstr("is up")));
  EXPECT_FALSE(links.find("tp0", ec));
}

}  // namespace
}  // namespace tunport::command
