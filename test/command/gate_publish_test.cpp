/// `tunport gate --publish`: ports of a sandbox that are open outside.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

/// Serves in the sandbox: port 80 answers in capitals after the end of the question, UDP port 53 at once.
/// Says "ready"; ends after as many TCP clients as told.
constexpr const char* server = R"(
import socket, sys, threading
tcp = socket.create_server(('127.0.0.1', 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 53))
def datagrams():
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data.upper(), peer)
threading.Thread(target=datagrams, daemon=True).start()
print('ready', flush=True)
for _ in range(int(sys.argv[1])):
    with tcp.accept()[0] as c:
        data = b''.join(iter(lambda: c.recv(65536), b''))
        c.sendall(data.upper())
)";

/// Asks outside: ADDRESS PORT, by TCP, or with a third word by UDP; prints the answer.
constexpr const char* client = R"(
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
kind = socket.SOCK_DGRAM if len(sys.argv) > 3 else socket.SOCK_STREAM
s = socket.socket(family, kind); s.settimeout(10)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    if kind == socket.SOCK_DGRAM: s.send(b'hello'); print(s.recv(100).decode())
    else:
        s.sendall(b'hello'); s.shutdown(socket.SHUT_WR)
        print(b''.join(iter(lambda: s.recv(100), b'')).decode())
except OSError as e: print(type(e).__name__)
)";

class CommandGatePublish : public sandbox::KernelTest {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which forbids to join a mount namespace";
#endif
    KernelTest::SetUp();
  }
  static Words gate(const Words& ports, const Words& command) {
    Words words{"gate", "tun:t0", "--sandbox", "--json"};
    for (const std::string& port : ports) words.insert(words.end(), {"--publish", port});
    words.emplace_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }
  static std::string ask(const Words& where) {
    Words words{"-c", client};
    words.insert(words.end(), where.begin(), where.end());
    return run(words, {.program = "/usr/bin/python3"}).out;
  }
};

TEST_F(CommandGatePublish, ClientsOutsideReachServersInside) {
  Running running{
      gate({"8080:80", "[::1]:8081:80", "127.0.0.2:5353:53/udp"}, {"python3", "-c", server, "2"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return running.err().find("ready") != std::string::npos; }));
  EXPECT_EQ(ask({"127.0.0.2", "5353", "udp"}), "HELLO\n");
  EXPECT_EQ(ask({"127.0.0.1", "8080"}), "HELLO\n");
  EXPECT_EQ(ask({"::1", "8081"}), "HELLO\n");
  const Finished finished = running.wait();
  EXPECT_EQ(finished.status, 0) << finished.err;
  const auto summary = nlohmann::json::parse(finished.out);
  EXPECT_EQ(summary["gate"]["bytes_in"], 10);
  EXPECT_EQ(summary["gate"]["bytes_out"], 10);
  EXPECT_EQ(ask({"127.0.0.1", "8080"}), "ConnectionRefusedError\n") << "nothing is left behind";
}

TEST_F(CommandGatePublish, WithoutAListenerInsideAClientIsReset) {
  const Running running{gate({"8080:80"}, {"sh", "-c", "echo ready >&2; exec sleep 20"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return running.err().find("ready") != std::string::npos; }));
  EXPECT_EQ(ask({"127.0.0.1", "8080"}), "ConnectionResetError\n");
}

TEST_F(CommandGatePublish, WhatCannotBeOpenedIsALine) {
  const Running holder{gate({"8080"}, {"sh", "-c", "echo ready >&2; exec sleep 20"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return holder.err().find("ready") != std::string::npos; }));
  for (const auto& [port, said] : std::vector<std::pair<std::string, std::string>>{
           {"8080", "another program has the port"},
           {"8080:80", "another program has the port"},
           {"203.0.113.9:80", "choose an address of this machine"},
           {"203.0.113.9:80/udp", "choose an address of this machine"}}) {
    const Finished finished = run(gate({port}, {"true"}));
    EXPECT_EQ(finished.status, 1) << port;
    ASSERT_EQ(lines(finished.err).size(), 1U) << finished.err;
    EXPECT_THAT(finished.err, AllOf(StartsWith("tunport: --publish "), HasSubstr(said)));
  }
}

TEST_F(CommandGatePublish, AnOrdinaryUserIsToldOfPrivilegedPorts) {
  if (!sandbox::is_real_root())
    GTEST_SKIP() << "becomes another user, so it needs root. This test was not run.";
  const sandbox::PublicCloneDevice clone;
  const Finished finished = run(gate({"80"}, {"true"}), {.user = 65534, .clone_device = clone.path()});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("--publish 127.0.0.1:80: Permission denied; choose a port above 1023"));
  Running running{gate({"8080:8081"},
                       {"python3", "-c",
                        "import socket\ns = socket.create_server(('127.0.0.1', 8081))\n"
                        "print('ready', flush=True)\nc = s.accept()[0]\nc.recv(10); c.sendall(b'inside')"}),
                  {.user = 65534, .clone_device = clone.path()}};
  ASSERT_TRUE(sandbox::wait_until([&] { return running.err().find("ready") != std::string::npos; }))
      << running.err();
  EXPECT_EQ(ask({"127.0.0.1", "8080"}), "inside\n");
  EXPECT_EQ(running.wait().status, 0);
}

TEST(CommandGatePublishUsage, IsForSandboxes) {
  const Finished finished =
      run({"gate", "tun:t0", "--interface-address", "10.9.0.1/24", "--publish", "80", "--", "true"});
  EXPECT_EQ(finished.status, 2);
  EXPECT_THAT(finished.err, HasSubstr("--publish '80': only a sandbox has ports that are not open already"));
}

}  // namespace
}  // namespace tunport::command
